/* A worker without a GPU, for tests of the tuning session: the test program itself, spawned with
 * `--worker`. $FAKE lists what goes wrong as "what:text;what:text": it happens to every request
 * whose configuration holds `text`. $FAKE_LOG gets one line per request.
 *
 *   compile  refuse, spill, same (equal binaries), slow, crash_compile, nonvrtc
 *   verify   wrong
 *   time     crash, hang, sticky;  fast (half the time), tie (0.1 % slower than 10 us)
 *   open     noopen
 *
 * Times are made of the configuration's text alone: 10 us and up, with a fixed +-1 % ripple. */
#ifndef SEQTUNE_TESTS_TUNER_FAKE_WORKER_H
#define SEQTUNE_TESTS_TUNER_FAKE_WORKER_H

int fake_worker_main(void);

#endif
