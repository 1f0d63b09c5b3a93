/* The program itself on loopback, with real TLS: hospitals are this process, the coordinator is a child that is killed. */
#include "base/clock.h"
#include "base/json.h"
#include "coordinator/enrol.h"
#include "proto/net/client.h"
#include "tests/coordinator/lines.h"
#include "tests/privacy/plain_update.h"
#include "train/checkpoint.h"
#include "train/dpsgd.h"
#include "train/safetensors.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define PROGRAM CORDON_BIN_DIR "/cordon-coordinator"

/* ---- the program ------------------------------------------------------------------------------------------------------ */

static char output[1 << 20]; /* what the last command wrote to stdout and stderr */

static pid_t spawn(const char *const *args, int out)
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(out, 1);
        dup2(out, 2);
        execv(PROGRAM, (char *const *)args);
        _exit(99);
    }
    return pid;
}

static int end_of(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Up to eight words behind the program's name; the exit code. */
static int command(const char *a, const char *b, const char *c, const char *d, const char *e, const char *f,
                   const char *g, const char *h)
{
    const char *args[] = {PROGRAM, a, b, c, d, e, f, g, h, NULL};
    int ends[2];
    size_t n = 0;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    const pid_t pid = spawn(args, ends[1]);
    close(ends[1]);
    for (ssize_t k; n + 1 < sizeof output && (k = read(ends[0], output + n, sizeof output - 1 - n)) > 0;)
        n += (size_t)k;
    output[n] = 0;
    close(ends[0]);
    return end_of(pid);
}

#define cmd(...)                                command_of(__VA_ARGS__, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
#define command_of(a, b, c, d, e, f, g, h, ...) command(a, b, c, d, e, f, g, h)

static void assert_output(const char *words)
{
    if (!strstr(output, words))
        fail_msg("'%s' does not say '%s'", output, words);
}

/* A text in the output's JSON, by a key of the only study. */
static void assert_study(const char *key, const char *text, int64_t number)
{
    fl_err err;
    fl_json *j;
    int64_t n;
    assert_ok(fl_json_parse(&j, output, strlen(output), "status", &err), err);
    const fl_json *study = fl_json_at(fl_json_member(j, "studies"), 0);
    if (text)
        assert_string_equal(fl_json_text(study, key), text);
    else {
        assert_true(fl_json_int(study, key, &n));
        assert_int_equal(n, number);
    }
    fl_json_free(j);
}

/* ---- a consortium ------------------------------------------------------------------------------------------------------- */

typedef struct hospital {
    wire_invitation invitation;
    fl_sign_key key;
    char tls_key[FL_PEM_MAX], cert[FL_PEM_MAX];
    uint64_t sent;
    hospital_lines lines;
} hospital;

typedef struct consortium {
    char dir[3000], study[3100], address[64];
    pid_t pid;
    nn_plan plan;
    hospital hospitals[2];
} consortium;

static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static void start(consortium *c)
{
    char ready[3200], line[8];
    snprintf(ready, sizeof ready, "%s.ready", c->dir);
    unlink(ready);
    assert_int_equal(mkfifo(ready, 0600), 0);
    struct pollfd said = {.fd = open(ready, O_RDWR | O_CLOEXEC), .events = POLLIN};
    const char *args[] = {PROGRAM, "run", "--dir", c->dir, "--notify", ready, NULL};
    const char *log = getenv("CORDON_TEST_LOG"); /* to look at when a test fails */
    const int out = open(log ? log : "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    c->pid = spawn(args, out);
    close(out);
    if (poll(&said, 1, 30000) != 1 || read(said.fd, line, sizeof line) < 5)
        fail_msg("the coordinator does not say that it serves; see CORDON_TEST_LOG");
    close(said.fd);
    assert_int_equal(cmd("status", "--dir", c->dir), 0);
    assert_non_null(strstr(output, ", running"));
}

static consortium *make(const char *scratch)
{
    static const char study[] = "[study]\nname = s\nclasses = normal, ill\n[input]\nshape = 1x8x8\n[model]\n"
                                "architecture = linear\n[rounds]\ncount = 2\nquorum = 2\ndeadline_s = 600\n"
                                "[privacy]\nepsilon = 8\ndelta = 0.00001\nsampling_rate = 0.1\n";
    fl_err err;
    char port[8];
    consortium *c = calloc(1, sizeof *c);
    snprintf(c->dir, sizeof c->dir, "%s/hub", scratch);
    snprintf(c->study, sizeof c->study, "%s/s.ini", scratch);
    snprintf(port, sizeof port, "%u", free_port());
    snprintf(c->address, sizeof c->address, "127.0.0.1:%s", port);
    assert_ok(fl_file_write(c->study, study, sizeof study - 1, 0600, &err), err);
    const char *args[] = {PROGRAM,  "init",      "--dir",  c->dir, "--name", "hub",
                          "--host", "127.0.0.1", "--port", port,   NULL};
    const int out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_int_equal(end_of(spawn(args, out)), 0);
    close(out);
    assert_ok(nn_plan_from_study(&c->plan, study, "s.ini", ".", &err), err);
    return c;
}

static void stop(consortium *c)
{
    kill(c->pid, SIGTERM);
    assert_int_equal(end_of(c->pid), 0);
    c->pid = 0;
}

static void drop(consortium *c)
{
    for (int i = 0; i < 2; i++) {
        fl_sign_key_fini(&c->hospitals[i].key);
        dp_forest_fini(&c->hospitals[i].lines.forest);
    }
    free(c);
}

static const char *const names[] = {"a", "b"};

/* false: refused, and *reply says why. */
static bool enrol_with(consortium *c, hospital *h, const char *name, wire_enrolled *reply)
{
    fl_err err;
    char origin[DP_ORIGIN_MAX], vkey[DP_VKEY_MAX];
    fl_buf bytes, answer;
    wire_enrol request = {0};
    fl_buf_init(&bytes, WIRE_ENROL_MAX);
    fl_buf_init(&answer, WIRE_ENROL_MAX);
    assert_ok(fl_cert_request_make(request.request_pem, h->tls_key, name, &err), err);
    strcpy(request.name, name);
    dp_origin(origin, name);
    dp_vkey_text(vkey, origin, h->key.public_key);
    strcpy(request.vkey, vkey);
    assert_ok(wire_enrol_pack(&bytes, &request, &h->key, &err), err);
    const wire_client_config config = {.address = c->address,
                                       .ca_pem = h->invitation.ca_pem,
                                       .cert_pem = h->invitation.cert_pem,
                                       .key_pem = h->invitation.key_pem};
    assert_ok(wire_client_call(&config, bytes.bytes, bytes.size, &answer, 20000, &err), err);
    assert_ok(wire_enrolled_unpack(reply, answer.bytes, answer.size, &err), err);
    fl_buf_fini(&bytes);
    fl_buf_fini(&answer);
    return !reply->refused;
}

static void enrol(consortium *c, int i)
{
    fl_err err;
    wire_enrolled reply;
    hospital *h = &c->hospitals[i];
    assert_int_equal(cmd("invite", names[i], "--dir", c->dir), 0);
    *strchr(output, '\n') = 0; /* the line; what follows went to stderr */
    const char *line = strstr(output, "cordon1:");
    if (!line) { /* stderr came first */
        line = strstr(output + strlen(output) + 1, "cordon1:");
        assert_non_null(line);
    }
    assert_ok(wire_invitation_parse(&h->invitation, line, fl_clock_wall_s(), &err), err);
    assert_ok(fl_sign_key_make(&h->key, &err), err);
    assert_ok(fl_cert_key_make(h->tls_key, &err), err);
    if (!enrol_with(c, h, names[i], &reply))
        fail_msg("refused: %s", reply.text);
    strcpy(h->cert, reply.cert_pem);
}

static wire_client_config config_of(consortium *c, hospital *h)
{
    return (wire_client_config){
        .address = c->address, .ca_pem = h->invitation.ca_pem, .cert_pem = h->cert, .key_pem = h->tls_key};
}

static wire_decoder decoder;

static void pack(fl_buf *bytes, hospital *h, const char *name, wire_message *m)
{
    fl_err err;
    fl_buf_init(bytes, WIRE_ENVELOPE_MAX);
    strcpy(m->sender, name);
    m->sequence = 1ull << 32 | ++h->sent;
    m->request_id = m->sequence * 3;
    assert_ok(wire_pack(bytes, m, &h->key, &err), err);
}

static wire_kind ask(consortium *c, int i, wire_message *m, wire_message *r)
{
    fl_err err;
    fl_buf bytes, answer;
    hospital *h = &c->hospitals[i];
    pack(&bytes, h, names[i], m);
    fl_buf_init(&answer, WIRE_ENVELOPE_MAX);
    const wire_client_config config = config_of(c, h);
    assert_ok(wire_client_call(&config, bytes.bytes, bytes.size, &answer, 40000, &err), err);
    assert_ok(wire_unpack(r, &decoder, answer.bytes, answer.size, &err), err);
    assert_ok(wire_check_reply(m, r, "hub", &err), err);
    fl_buf_fini(&bytes);
    fl_buf_fini(&answer);
    return r->kind;
}

static void join(consortium *c, int i)
{
    wire_message m = {.kind = WIRE_JOIN, .study = "s", .u.join = {.declared_patients = 100}}, r;
    m.u.join.plan_hash = c->plan.hash;
    assert_int_equal(ask(c, i, &m, &r), WIRE_OK);
}

/* Polls for the announce, sends an update of zeros and i. Returns the receipt's signature, or false. */
static wire_message release_for(consortium *c, int i, uint32_t round, const fl_hash *announce, fl_buf *update)
{
    const dp_update_shape shape = nn_plan_update(&c->plan, round);
    int64_t *u = calloc(shape.coordinates + shape.cells, sizeof *u);
    u[0] = 1000 + i + 10 * (int)round;
    fl_buf_init(update, 1 << 20);
    plain_update(update, &shape, u);
    free(u);
    wire_message m = {.kind = WIRE_RELEASED, .study = "s", .round = round};
    snprintf(m.debit, sizeof m.debit, "%016x%016x", round, i + 1);
    m.u.released.update_hash = fl_sha256(update->bytes, update->size);
    m.u.released.update_bytes = update->size;
    m.u.released.announce_hash = *announce;
    return m;
}

static void show_head(consortium *c, int i, wire_message *r)
{
    hospital *h = &c->hospitals[i];
    wire_message m;
    lines_head(&h->lines, &m, names[i], &h->key);
    assert_int_equal(ask(c, i, &m, r), WIRE_COSIGNED);
    h->lines.held = h->lines.forest.size;
}

static wire_kind contribute(consortium *c, int i, wire_message *released, wire_message *r)
{
    wire_message poll = {.kind = WIRE_POLL, .u.poll = {.n_plans_known = 1, .wait_ms = 20000}};
    fl_buf update;
    poll.u.poll.ledger_size = c->hospitals[i].lines.held;
    assert_int_equal(ask(c, i, &poll, r), WIRE_ANNOUNCE);
    *released = release_for(c, i, r->u.announce.round, &r->u.announce.announce_hash, &update);
    wire_message m = {.kind = WIRE_UPLOAD, .study = "s", .round = released->round};
    strcpy(m.debit, released->debit);
    m.u.upload.object = released->u.released.update_hash;
    m.u.upload.total = update.size;
    m.u.upload.bytes = update.bytes;
    m.u.upload.n_bytes = (uint32_t)update.size;
    assert_int_equal(ask(c, i, &m, r), WIRE_LENGTH);
    fl_buf_fini(&update);
    lines_release(&c->hospitals[i].lines, released, names[i]);
    show_head(c, i, r);
    lines_prove(&c->hospitals[i].lines, released);
    return ask(c, i, released, r);
}

/* ---- tests ---------------------------------------------------------------------------------------------------------------- */

/* The file alone is a model, and its card says what everybody may know. */
static void check_exported(consortium *c, const char *path)
{
    static const char *const words[] = {"# s: model after round 2 of 2", "| a | 100 | 2 | 2 | ", "| b | 100 | 2 | 2 | ",
                                        "0 normal, 1 ill", "No figures were released"};
    nn_model_file f;
    fl_err err;
    fl_buf card;
    char card_path[FL_PATH_MAX], hex[2 * FL_HASH_SIZE + 1];
    assert_ok(nn_model_file_open(&f, path, &err), err);
    assert_int_equal(f.facts.round, 2);
    fl_hex_encode(hex, c->plan.hash.bytes, FL_HASH_SIZE);
    assert_string_equal(f.facts.plan_hash, hex);
    fl_hex_encode(hex, f.hash.bytes, FL_HASH_SIZE);
    fl_buf_init(&card, 1 << 20);
    snprintf(card_path, sizeof card_path, "%s.md", path);
    assert_ok(fl_file_read(&card, card_path, &err), err);
    assert_non_null(strstr(fl_buf_text(&card), hex));
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (!strstr(fl_buf_text(&card), words[i]))
            fail_msg("%s: not in\n%s", words[i], fl_buf_text(&card));
    }
    fl_buf_fini(&card);
    nn_model_file_close(&f);
}

static void a_federation_outlives_a_killed_coordinator(void **state)
{
    consortium *c = make(*state);
    wire_message released[2], r, again;
    char file[4000];
    assert_int_equal(cmd("study", "add", c->study, "--dir", c->dir), 0); /* nothing runs yet */
    start(c);
    for (int i = 0; i < 2; i++) {
        enrol(c, i);
        join(c, i);
    }
    assert_int_equal(contribute(c, 0, &released[0], &r), WIRE_RECEIPT);
    assert_int_equal(cmd("status", "--json", "--dir", c->dir), 0);
    assert_study("phase", "open", 0);
    assert_study("contributions", NULL, 1);
    kill(c->pid, SIGKILL);
    assert_int_equal(end_of(c->pid), 128 + SIGKILL);
    assert_int_equal(cmd("status", "--json", "--dir", c->dir), 0); /* alone now, from the rows */
    assert_study("contributions", NULL, 1);

    start(c);
    assert_int_equal(ask(c, 0, &released[0], &again), WIRE_RECEIPT); /* what was acknowledged still is */
    assert_memory_equal(again.u.receipt.signature, r.u.receipt.signature, FL_SIGNATURE_SIZE);
    assert_int_equal(contribute(c, 1, &released[1], &r), WIRE_RECEIPT);
    assert_int_equal(cmd("status", "--json", "--dir", c->dir), 0);
    assert_study("round", NULL, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(contribute(c, i, &released[i], &r), WIRE_RECEIPT);
    assert_int_equal(cmd("status", "--json", "--dir", c->dir), 0);
    assert_study("phase", "done", 0);
    assert_int_equal(cmd("refold", "--dir", c->dir), 0);
    assert_output("2 rounds recomputed");
    snprintf(file, sizeof file, "%s/m.safetensors", (char *)*state);
    assert_int_equal(cmd("export", "--dir", c->dir, "--format", "safetensors", "-o", file), 0);
    check_exported(c, file);
    snprintf(file, sizeof file, "%s/m.onnx", (char *)*state);
    assert_int_equal(cmd("export", "--dir", c->dir, "--format", "onnx", "--round=1", "-o", file), 0);
    assert_true(fl_file_exists(file));
    snprintf(file, sizeof file, "%s/m.state", (char *)*state);
    assert_int_equal(cmd("export", "--dir", c->dir, "--format", "cordon", "-o", file), 0);
    nn_server server;
    fl_err err;
    assert_ok(nn_checkpoint_load(&server, &c->plan, file, &err), err);
    assert_int_equal(server.rounds_done, 2);
    nn_server_fini(&server);
    strcat(file, ".md");
    assert_true(fl_file_exists(file));
    assert_int_equal(cmd("export", "--dir", c->dir, "--format", "keras", "-o", file), 2);
    assert_output("expected safetensors, onnx or cordon");
    assert_int_equal(cmd("export", "--dir", c->dir, "--format", "onnx", "--round=9", "-o", file), 2);
    assert_output("has no model after round 9");
    stop(c);
    assert_int_equal(cmd("refold", "--dir", c->dir), 0);
    snprintf(file, sizeof file, "%s/ledger.jsonl", (char *)*state);
    assert_int_equal(cmd("ledger", "export", "--dir", c->dir, "-o", file), 0);
    drop(c);
}

typedef struct waiting {
    sem_t done;
    fl_code code;
} waiting;

static void on_reply(void *ctx, fl_code code, const uint8_t *bytes, size_t n, const char *why)
{
    waiting *w = ctx;
    (void)bytes, (void)n, (void)why;
    w->code = code;
    sem_post(&w->done);
}

static void a_revoked_hospital_is_cut_off_at_once(void **state)
{
    fl_err err;
    consortium *c = make(*state);
    wire_message poll = {.kind = WIRE_POLL, .u.poll = {.n_plans_known = 1, .wait_ms = 30000}}, r;
    waiting w = {0};
    fl_buf bytes, answer;
    wire_client *client;
    assert_int_equal(cmd("study", "add", c->study, "--dir", c->dir), 0);
    start(c);
    enrol(c, 0);
    enrol(c, 1);
    wire_client_config config = config_of(c, &c->hospitals[0]);
    config.one_attempt = true;
    sem_init(&w.done, 0, 0);
    assert_ok(wire_client_open(&client, &config, &err), err);
    pack(&bytes, &c->hospitals[0], "a", &poll);
    assert_ok(wire_client_ask(client, bytes.bytes, bytes.size, 60000, on_reply, &w, &err), err);
    const int64_t deadline = fl_clock_mono_ms() + 20000;
    do /* until the poll is parked; each look is a process of its own */
        assert_int_equal(cmd("status", "--dir", c->dir), 0);
    while (!strstr(output, "seen") && fl_clock_mono_ms() < deadline);
    const int64_t before = fl_clock_mono_ms();
    assert_int_equal(cmd("revoke", "a", "--dir", c->dir), 0);
    assert_int_equal(sem_wait(&w.done), 0);
    assert_true(fl_clock_mono_ms() - before < 15000); /* not at the end of the poll */
    wire_client_close(client);
    fl_buf_fini(&bytes);

    pack(&bytes, &c->hospitals[0], "a", &poll); /* and it does not come in again */
    fl_buf_init(&answer, WIRE_ENVELOPE_MAX);
    assert_int_equal(wire_client_call(&config, bytes.bytes, bytes.size, &answer, 5000, &err), FL_EENV);
    fl_buf_fini(&bytes);
    fl_buf_fini(&answer);
    join(c, 1); /* the other one is not touched by it */
    assert_int_equal(cmd("revoke", "a", "--dir", c->dir), 1);
    assert_output("was revoked already");
    poll.u.poll.wait_ms = 0;
    assert_int_equal(ask(c, 1, &poll, &r), WIRE_NOTHING);
    stop(c);
    drop(c);
}

static void what_goes_wrong_is_said_in_one_line(void **state)
{
    consortium *c = make(*state);
    wire_enrolled reply;
    fl_err err;
    char other[3100];
    start(c);
    assert_int_equal(cmd("run", "--dir", c->dir), 3);
    assert_output("another process uses this folder");
    snprintf(other, sizeof other, "%s/other", (char *)*state);
    assert_int_equal(cmd("init", "--dir", other, "--name", "x", "--host", "127.0.0.1"), 0);
    char path[FL_PATH_MAX], ini[200];
    snprintf(ini, sizeof ini, "[coordinator]\nname = x\nhost = 127.0.0.1\nport = %s\n", strchr(c->address, ':') + 1);
    assert_ok(fl_file_write(fl_path(path, other, "coordinator.ini"), ini, strlen(ini), 0600, &err), err);
    assert_int_equal(cmd("run", "--dir", other), 3);
    assert_output("in use");
    assert_int_equal(strchr(output, '\n') - output, strlen(output) - 1); /* one line */

    enrol(c, 0);
    assert_int_equal(cmd("invite", "a", "--dir", c->dir), 1);
    assert_output("is enrolled already");
    hospital thief = c->hospitals[0]; /* the invitation, another identity */
    assert_ok(fl_sign_key_make(&thief.key, &err), err);
    assert_false(enrol_with(c, &thief, "a", &reply));
    assert_non_null(strstr(reply.text, "was used already"));
    fl_sign_key_fini(&thief.key);

    assert_int_equal(cmd("study", "add", "/nonexistent.ini", "--dir", c->dir), 2);
    assert_int_equal(cmd("study", "show", "nothing", "--dir", c->dir), 2);
    assert_int_equal(cmd("export", "--dir", c->dir, "--format", "onnx", "-o", "/tmp/x"), 2);
    assert_int_equal(cmd("status", "--study", "nothing", "--dir", c->dir), 2);
    assert_int_equal(cmd("revoke", "nobody", "--dir", c->dir), 2);
    assert_int_equal(cmd("frobnicate", "--dir", c->dir), 2);
    assert_int_equal(cmd("status", "--dir", "/nonexistent"), 2);
    stop(c);
    drop(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(a_federation_outlives_a_killed_coordinator),
        in_scratch(a_revoked_hospital_is_cut_off_at_once),
        in_scratch(what_goes_wrong_is_said_in_one_line),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    wire_decoder_fini(&decoder);
    return failed;
}
