#include "proto/net/live.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIVE_MAX_ARGS   4096
#define LIVE_TIMEOUT_MS 3600000 /* adding a large folder of images takes a while */

static void put_u32(fl_buf *b, size_t value)
{
    const uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)};
    fl_buf_add(b, bytes, 4);
}

static void put_text(fl_buf *b, const char *text)
{
    put_u32(b, strlen(text));
    fl_buf_add_text(b, text);
}

/* Reads a length that must not pass what is left. */
static bool get_u32(size_t *value, const uint8_t **at, const uint8_t *end)
{
    if (end - *at < 4)
        return false;
    *value = (size_t)(*at)[0] | (size_t)(*at)[1] << 8 | (size_t)(*at)[2] << 16 | (size_t)(*at)[3] << 24;
    *at += 4;
    return true;
}

static int show_reply(const fl_buf *reply, const char *program, FILE *out, FILE *err)
{
    const uint8_t *at = reply->bytes, *end = reply->bytes + reply->size;
    size_t code, n_out;
    if (!get_u32(&code, &at, end) || !get_u32(&n_out, &at, end) || n_out > (size_t)(end - at) || code > 255) {
        fprintf(err, "%s: the running program gave an answer that cannot be read: is it of another version?\n",
                program);
        return 3;
    }
    fwrite(at, 1, n_out, out);
    fwrite(at + n_out, 1, (size_t)(end - at) - n_out, err);
    return (int)code;
}

int wire_live_call(const char *dir, const char *program, int argc, char **argv, FILE *out, FILE *err)
{
    char cwd[PATH_MAX];
    fl_buf request, reply;
    fl_err e = {0};
    int exit_code = 3;
    fl_buf_init(&request, WIRE_CONTROL_REQUEST_MAX);
    fl_buf_init(&reply, WIRE_CONTROL_REPLY_MAX);
    put_u32(&request, (size_t)argc);
    put_text(&request, getcwd(cwd, sizeof cwd) ? cwd : "/");
    for (int i = 1; i < argc; i++)
        put_text(&request, argv[i]);
    fl_code rc = fl_buf_check(&request, "command line", &e);
    if (rc == FL_OK)
        rc = wire_control_call(dir, request.bytes, request.size, &reply, LIVE_TIMEOUT_MS, &e);
    if (rc == FL_ENOTFOUND)
        exit_code = -1;
    else if (rc) {
        fprintf(err, "%s: %s\n", program, e.text);
        exit_code = fl_exit_code(rc);
    } else
        exit_code = show_reply(&reply, program, out, err);
    fl_buf_fini(&request);
    fl_buf_fini(&reply);
    return exit_code;
}

/* The texts of a request as 0-terminated strings in one block; NULL when it is malformed. */
static char **parse_request(int *n_texts, const uint8_t *bytes, size_t n)
{
    const uint8_t *at = bytes, *end = bytes + n;
    size_t count;
    if (!get_u32(&count, &at, end) || count < 1 || count > LIVE_MAX_ARGS)
        return NULL;
    char **texts = malloc((count + 1) * sizeof *texts + n + count);
    if (!texts)
        return NULL;
    char *to = (char *)(texts + count + 1);
    for (size_t i = 0; i < count; i++) {
        size_t length;
        if (!get_u32(&length, &at, end) || length > (size_t)(end - at)) {
            free(texts);
            return NULL;
        }
        texts[i] = to;
        memcpy(to, at, length);
        to[length] = 0;
        to += length + 1;
        at += length;
    }
    texts[count] = NULL;
    *n_texts = (int)count;
    return texts;
}

static int execute(const char *program, const fl_cli_command *commands, int argc, char **argv, FILE *out, FILE *err,
                   void *user)
{
    char before[PATH_MAX];
    bool back = getcwd(before, sizeof before) && chdir(argv[0]) == 0;
    argv[0] = (char *)program;
    int code = fl_cli_run(program, commands, argc, argv, out, err, user);
    if (back && chdir(before) != 0)
        fprintf(err, "%s: cannot return to %s\n", program, before);
    return code;
}

void wire_live_answer(wire_control *control, uint64_t ticket, const uint8_t *bytes, size_t n, const char *program,
                      const fl_cli_command *commands, void *user)
{
    char *out_text = NULL, *err_text = NULL;
    size_t n_out = 0, n_err = 0;
    int argc = 0, code = 3;
    char **argv = parse_request(&argc, bytes, n);
    FILE *out = open_memstream(&out_text, &n_out), *err = open_memstream(&err_text, &n_err);
    if (argv && out && err)
        code = execute(program, commands, argc, argv, out, err, user);
    else if (err)
        fprintf(err, "%s: a command that cannot be read\n", program);
    if (out)
        fclose(out);
    if (err)
        fclose(err);
    fl_buf reply;
    fl_buf_init(&reply, WIRE_CONTROL_REPLY_MAX);
    put_u32(&reply, (size_t)code);
    put_u32(&reply, n_out);
    fl_buf_add(&reply, out_text, n_out);
    fl_buf_add(&reply, err_text, n_err);
    if (reply.failed) {
        const uint8_t too_long[8] = {3};
        wire_control_reply(control, ticket, too_long, sizeof too_long);
    } else
        wire_control_reply(control, ticket, reply.bytes, reply.size);
    fl_buf_fini(&reply);
    free(out_text);
    free(err_text);
    free(argv);
}
