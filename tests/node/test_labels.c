#include "tests/base/test.h"

#include "imaging/image.h"
#include "node/labels.h"

static const uint8_t key[32] = {1, 2, 3};

typedef struct parsed {
    node_labels l;
    fl_err err;
    fl_code rc;
    char *lines;
    size_t n_lines;
} parsed;

static parsed *parse_bytes(const char *text, size_t n)
{
    parsed *p = calloc(1, sizeof *p);
    char *copy = malloc(n + 1);
    FILE *out = open_memstream(&p->lines, &p->n_lines);
    memcpy(copy, text, n);
    copy[n] = 0;
    p->rc = node_labels_parse(&p->l, copy, n, "labels.csv", NULL, key, out, &p->err);
    fclose(out);
    free(copy);
    return p;
}

static parsed *parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static void done(parsed *p)
{
    node_labels_fini(&p->l);
    free(p->lines);
    free(p);
}

static void reads_columns_in_any_order_with_quotes_and_windows_line_ends(void **state)
{
    (void)state;
    parsed *p = parse("\xef\xbb\xbf"
                      "Label,note,FILE,split,patient_id\r\n"
                      "\"pneu, \"\"both\"\" sides\",\"a\nb\",\"x/1.png\",Val,p1\r\n"
                      "normal,,./x\\2.png,,\r\n"
                      "\r\n"
                      "1,z,3.png,test,p2");
    assert_int_equal(p->rc, FL_OK);
    assert_int_equal(p->l.n, 3);
    assert_int_equal(p->l.n_bad, 0);
    assert_string_equal(p->l.rows[0].text, "pneu, \"both\" sides");
    assert_int_equal(p->l.rows[0].split, NODE_SPLIT_VAL);
    assert_true(p->l.rows[0].has_patient);
    uint8_t patient[32];
    img_hmac_patient(patient, key, "p1");
    assert_memory_equal(p->l.rows[0].patient, patient, 32);
    assert_string_equal(p->l.rows[1].path, "x/2.png");
    assert_int_equal(p->l.rows[1].split, -1);
    assert_false(p->l.rows[1].has_patient);
    assert_int_equal(p->l.rows[2].line, 6); /* the quoted line end counts */
    assert_string_equal(p->lines, "");
    done(p);
}

static void names_each_row_that_cannot_be_used_with_its_line(void **state)
{
    (void)state;
    char long_label[200], text[4000];
    memset(long_label, 'x', 64);
    long_label[64] = 0;
    snprintf(text, sizeof text,
             "file,label,split,patient_id,sop_instance_uid\n"
             "a.png,1,train,p,\n"      /*  2 good */
             "b.png,1\n"               /*  3 short */
             "c.png,1,train,p,,\n"     /*  4 long */
             "d.png,,train,p,\n"       /*  5 no label */
             "e.png,1,dev,p,\n"        /*  6 split */
             ",1,train,p,\n"           /*  7 no file */
             "f.png,%s,train,p,\n"     /*  8 label too long */
             "g.png,1,train,p,1.2.x\n" /*  9 no UID */
             "h\"i.png,1,train,p,\n"   /* 10 stray quote */
             "\"j.png\"k,1,train,p,\n" /* 11 text behind a quote */
             "l\x01.png,1,train,p,\n"  /* 12 control character */
             "m.png,1,,,\n",           /* 13 good */
             long_label);
    parsed *p = parse(text);
    assert_int_equal(p->rc, FL_OK);
    assert_int_equal(p->l.n, 2);
    assert_int_equal(p->l.n_bad, 10);
    for (int line = 3; line <= 12; line++) {
        char wanted[32];
        snprintf(wanted, sizeof wanted, "labels.csv:%d: ", line);
        assert_non_null(strstr(p->lines, wanted));
    }
    assert_non_null(strstr(p->lines, "labels.csv:3: 2 fields, the header has 5"));
    done(p);
}

static void refuses_a_file_whose_header_or_quotes_are_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } table[] = {
        {"", "is empty"},
        {"\n\n", "is empty"},
        {"file,lable\na,1\n", "no column named label (is it \"lable\"?)"},
        {"label,split\n1,train\n", "no column named file"},
        {"file,label,Label\na,1,1\n", "column label is there twice"},
        {"file,label\n\"a,1\nb,2\n", "labels.csv:2: a quote is not closed"},
        {"file,\"label\na,1\n", "a quote is not closed"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        parsed *p = parse(table[i].text);
        assert_int_equal(p->rc, FL_EFORMAT);
        assert_says(p->err, table[i].says);
        done(p);
    }
    parsed *p = parse_bytes("file,label\na\0b,1\n", 17);
    assert_int_equal(p->rc, FL_EFORMAT);
    assert_says(p->err, "zero byte");
    done(p);
}

static void survives_a_line_of_a_million_commas(void **state)
{
    (void)state;
    size_t n = 1000000;
    char *text = malloc(n + 12);
    memcpy(text, "file,label\n", 11);
    memset(text + 11, ',', n);
    parsed *p = parse_bytes(text, n + 11);
    assert_int_equal(p->rc, FL_OK);
    assert_int_equal(p->l.n_bad, 1);
    assert_non_null(strstr(p->lines, "labels.csv:2: too many fields"));
    done(p);
    free(text);
}

static void a_row_said_twice_counts_once_and_a_contradiction_never(void **state)
{
    (void)state;
    parsed *p = parse("file,label,sop_instance_uid\n"
                      "a.png,1,\n"
                      "a.png,1,\n"
                      "b.png,1,\n"
                      "b.png,0,\n"
                      ",1,1.2.3\n"
                      ",0,1.2.3\n");
    assert_int_equal(p->l.n_bad, 5);
    assert_non_null(strstr(p->lines, "labels.csv:3: says again what line 2 says"));
    assert_non_null(strstr(p->lines, "labels.csv:5: contradicts line 4"));
    assert_non_null(strstr(p->lines, "labels.csv:7: contradicts line 6"));
    assert_ptr_equal(node_labels_by_file(&p->l, "a.png", true), &p->l.rows[0]);
    assert_null(node_labels_by_file(&p->l, "b.png", true));
    uint8_t sop[32];
    img_hmac_sop(sop, key, "1.2.3");
    assert_null(node_labels_by_sop(&p->l, sop));
    done(p);
}

static void a_base_name_counts_only_when_it_is_the_only_one(void **state)
{
    (void)state;
    parsed *p = parse("file,label\n"
                      "old/1.png,0\n"
                      "old/2.png,1\n"
                      "older/2.png,0\n");
    assert_ptr_equal(node_labels_by_file(&p->l, "new/1.png", true), &p->l.rows[0]);
    assert_null(node_labels_by_file(&p->l, "new/1.png", false)); /* two files of this name */
    assert_null(node_labels_by_file(&p->l, "new/2.png", true));  /* two rows of this name */
    assert_ptr_equal(node_labels_by_file(&p->l, "older/2.png", false), &p->l.rows[2]);
    assert_null(node_labels_by_file(&p->l, "new/3.png", true));
    done(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_columns_in_any_order_with_quotes_and_windows_line_ends),
        cmocka_unit_test(names_each_row_that_cannot_be_used_with_its_line),
        cmocka_unit_test(refuses_a_file_whose_header_or_quotes_are_wrong),
        cmocka_unit_test(survives_a_line_of_a_million_commas),
        cmocka_unit_test(a_row_said_twice_counts_once_and_a_contradiction_never),
        cmocka_unit_test(a_base_name_counts_only_when_it_is_the_only_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
