/* Frames between tuner and workers: what goes in comes out, and nothing half or broken does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tuner/message.h"

static void fields_come_back_as_they_were_put(void **state) {
    (void)state;
    Message m = {0};
    message_put(&m, "op", "attn_prefill");
    message_put(&m, "empty", "");
    message_put_int(&m, "n", INT64_MIN);
    message_put_num(&m, "x", 0.1);
    message_put_bytes(&m, "raw", "a\0b", 3);
    size_t size;
    assert_string_equal(message_get(&m, "op"), "attn_prefill");
    assert_string_equal(message_get(&m, "empty"), "");
    assert_true(message_get_int(&m, "n", 0) == INT64_MIN);
    assert_true(message_get_num(&m, "x", 0) == 0.1);
    assert_memory_equal(message_get_bytes(&m, "raw", &size), "a\0b", 3);
    assert_int_equal(size, 3);
    assert_null(message_get(&m, "absent"));
    assert_int_equal(message_get_int(&m, "op", 7), 7);
    message_free(&m);
}

static void doubles_travel_bit_for_bit(void **state) {
    (void)state;
    const double in[] = {1.0 / 3, 5e-324, -0.0, 1e300};
    double out[4] = {0};
    Message m = {0};
    message_put_nums(&m, "times", in, 4);
    assert_int_equal(message_get_nums(&m, "times", out, 4), 4);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(message_get_nums(&m, "times", out, 2), 2);
    message_free(&m);
}

/* The bytes of one frame with the field op=time. */
static size_t frame(unsigned char *out, size_t max) {
    int fd[2];
    Message m = {0};
    assert_int_equal(pipe(fd), 0);
    message_put(&m, "op", "time");
    assert_int_equal(message_write(fd[1], &m, NULL), ST_OK);
    ssize_t n = read(fd[0], out, max);
    assert_true(n > MESSAGE_HEAD);
    close(fd[0]);
    close(fd[1]);
    message_free(&m);
    return (size_t)n;
}

static void a_frame_that_comes_byte_by_byte_is_taken_once_it_is_whole(void **state) {
    (void)state;
    unsigned char bytes[128];
    size_t size = frame(bytes, sizeof bytes);
    int fd[2];
    MessageReader reader = {0};
    Message m = {0};
    assert_int_equal(pipe(fd), 0);
    for (size_t i = 0; i < size; i++) {
        bool got, end;
        assert_int_equal(message_reader_take(&reader, &m, &got, NULL), ST_OK);
        assert_false(got);
        assert_int_equal(write(fd[1], bytes + i, 1), 1);
        assert_int_equal(message_reader_fill(&reader, fd[0], &end, NULL), ST_OK);
    }
    bool got;
    assert_int_equal(message_reader_take(&reader, &m, &got, NULL), ST_OK);
    assert_true(got);
    assert_string_equal(message_get(&m, "op"), "time");
    close(fd[0]);
    close(fd[1]);
    message_reader_free(&reader);
    message_free(&m);
}

static void two_frames_in_one_read_are_two_messages(void **state) {
    (void)state;
    unsigned char bytes[256];
    size_t size = frame(bytes, 128);
    memcpy(bytes + size, bytes, size);
    MessageReader reader = {0};
    Message m = {0};
    str_append(&reader.pending, (const char *)bytes, 2 * size);
    for (int i = 0; i < 2; i++) {
        bool got;
        assert_int_equal(message_reader_take(&reader, &m, &got, NULL), ST_OK);
        assert_true(got);
        assert_string_equal(message_get(&m, "op"), "time");
    }
    assert_int_equal(reader.pending.len, 0);
    message_reader_free(&reader);
    message_free(&m);
}

/* One broken byte in the frame must give ST_CORRUPT. */
static void assert_corrupt(size_t at, unsigned char value) {
    unsigned char bytes[128];
    size_t size = frame(bytes, sizeof bytes);
    MessageReader reader = {0};
    Message m = {0};
    Error err = {0};
    bool got;
    bytes[at] = value;
    str_append(&reader.pending, (const char *)bytes, size);
    assert_int_equal(message_reader_take(&reader, &m, &got, &err), ST_CORRUPT);
    assert_false(got);
    assert_true(err.message[0] != '\0');
    message_reader_free(&reader);
    message_free(&m);
}

static void broken_frames_are_refused(void **state) {
    (void)state;
    assert_corrupt(0, 'X');                /* magic */
    assert_corrupt(7, 0xff);               /* 4 GiB body */
    assert_corrupt(MESSAGE_HEAD, 0xff);    /* key longer than the frame */
    assert_corrupt(MESSAGE_HEAD + 4, 200); /* value longer than the frame */
    assert_corrupt(MESSAGE_HEAD + 4, 3);   /* value shorter: bytes left over */
}

static void a_pipe_that_ends_inside_a_frame_is_corrupt_and_a_clean_end_is_not(void **state) {
    (void)state;
    unsigned char bytes[128];
    size_t size = frame(bytes, sizeof bytes);
    for (size_t n = 0; n < size; n += size - 1) {
        int fd[2];
        MessageReader reader = {0};
        Message m = {0};
        assert_int_equal(pipe(fd), 0);
        assert_int_equal(write(fd[1], bytes, n), (int)n);
        close(fd[1]);
        assert_int_equal(message_read(&reader, fd[0], &m, NULL), n ? ST_CORRUPT : ST_NOT_FOUND);
        close(fd[0]);
        message_reader_free(&reader);
        message_free(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_back_as_they_were_put),
        cmocka_unit_test(doubles_travel_bit_for_bit),
        cmocka_unit_test(a_frame_that_comes_byte_by_byte_is_taken_once_it_is_whole),
        cmocka_unit_test(two_frames_in_one_read_are_two_messages),
        cmocka_unit_test(broken_frames_are_refused),
        cmocka_unit_test(a_pipe_that_ends_inside_a_frame_is_corrupt_and_a_clean_end_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
