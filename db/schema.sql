-- Version 1. Rows are append-only; `winner` is derived from `verdict` and rebuilt with it.
-- Column order is the order of the canonical encoding (docs/db.md, db/row.c).
-- STRICT: a value of another type is an error, not a conversion (a conversion would break hashes).

CREATE TABLE trial (
    id            INTEGER PRIMARY KEY,
    hash          BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    kernel        TEXT    NOT NULL,
    problem_key   TEXT    NOT NULL,
    gpu_key       TEXT    NOT NULL,
    policy        TEXT    NOT NULL,
    generation    INTEGER NOT NULL,
    problem       TEXT    NOT NULL,
    gpu_name      TEXT    NOT NULL,
    driver        TEXT    NOT NULL,
    nvrtc         TEXT    NOT NULL,
    spec_hash     TEXT    NOT NULL,
    config        TEXT    NOT NULL,
    outcome       TEXT    NOT NULL CHECK (outcome IN ('ok', 'rules', 'compile', 'resources', 'wrong',
                                                      'crash', 'timeout')),
    detail        TEXT    NOT NULL,
    time_median_s REAL    NOT NULL,
    time_low_s    REAL    NOT NULL,
    time_high_s   REAL    NOT NULL,
    times         BLOB    NOT NULL CHECK (length(times) % 8 = 0), -- IEEE 754 doubles, little-endian
    sm_clock_mhz  REAL    NOT NULL,
    verify_error  REAL    NOT NULL,
    compile_s     REAL    NOT NULL,
    registers     INTEGER NOT NULL,
    spill_bytes   INTEGER NOT NULL,
    smem_bytes    INTEGER NOT NULL,
    session       TEXT    NOT NULL,
    unix_ms       INTEGER NOT NULL,
    tool          TEXT    NOT NULL
) STRICT;

-- Resume asks for one configuration; a configuration has few rows (problems x GPUs). An index that
-- starts with the kernel would win over this one in SQLite's planner and visit every trial of it.
CREATE INDEX trial_by_config ON trial (config);

CREATE TABLE verdict (
    id              INTEGER PRIMARY KEY,
    hash            BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    kernel          TEXT    NOT NULL,
    problem_key     TEXT    NOT NULL,
    gpu_key         TEXT    NOT NULL,
    policy          TEXT    NOT NULL,
    generation      INTEGER NOT NULL,
    problem         TEXT    NOT NULL,
    gpu_name        TEXT    NOT NULL,
    spec_hash       TEXT    NOT NULL,
    config          TEXT    NOT NULL,
    default_config  TEXT    NOT NULL,
    time_s          REAL    NOT NULL,
    default_time_s  REAL    NOT NULL,
    ratio           REAL    NOT NULL,
    ratio_low       REAL    NOT NULL,
    ratio_high      REAL    NOT NULL,
    baseline_time_s REAL    NOT NULL,
    verify_error    REAL    NOT NULL,
    effort          INTEGER NOT NULL,
    registers       INTEGER NOT NULL,
    smem_bytes      INTEGER NOT NULL,
    session         TEXT    NOT NULL,
    unix_ms         INTEGER NOT NULL,
    tool            TEXT    NOT NULL
) STRICT;

CREATE INDEX verdict_by_key ON verdict (kernel, gpu_key, problem_key, policy, generation);

-- One row per key. It names the verdict by hash, which is the same in every database.
CREATE TABLE winner (
    kernel      TEXT    NOT NULL,
    gpu_key     TEXT    NOT NULL,
    problem_key TEXT    NOT NULL,
    policy      TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    verdict     BLOB    NOT NULL REFERENCES verdict (hash),
    PRIMARY KEY (kernel, gpu_key, problem_key, policy, generation)
) STRICT, WITHOUT ROWID;
