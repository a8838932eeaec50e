/* Types of the probe family's parameters. */
typedef unsigned long long st_address;
