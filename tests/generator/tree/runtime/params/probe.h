/* Parameters of the probe family. */
typedef struct ProbeParams {
    st_address in, out;
    int rows, cols;
} ProbeParams;
