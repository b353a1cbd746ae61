// Run both kernels on operating-system threads, with arrays of exact size, under a sanitizer.
#include <cstdio>
#include <cstdlib>

HOST_KERNEL(assign)
HOST_KERNEL(sum_squared_distances)

template <class T> static T *array(long n) { return (T *)calloc(n, sizeof(T)); }

int main() {
    const int k = 5, threads = 64, copies = 1;  // all threads add to the same sums
    const unsigned grid = 2;
    int64 n = 1100, stride = n;
    PIXEL *values = array<PIXEL>(BANDS * n);
    uint8 *labels = array<uint8>(n);
    double *offset = array<double>(BANDS), *steps_per_unit = array<double>(BANDS);
    double *centers = array<double>(k * BANDS), *farthest = array<double>(grid);
    float *coefficients = array<float>(k * N_COEFFICIENTS);
    uint64 *totals = array<uint64>(k * N_SUMS + 1), *steps = array<uint64>(2);
    int64 *place = array<int64>(grid);
    for (int64 i = 0; i < BANDS * n; i++) values[i] = (PIXEL)(i * 7919 % 251);
    for (int64 i = 0; i < n; i += 10) labels[i] = NODATA_LABEL;
    for (int b = 0; b < BANDS; b++) offset[b] = 125, steps_per_unit[b] = 1;
    for (int i = 0; i < k * BANDS; i++) centers[i] = 125 + i * 31 % 67 - 33;
    double scale = 1, steps_per_squared_unit = 1, fine_steps_per_coarse = 1;
    int clusters = k, kept = copies;
    for (int first = 1; first >= 0; first--) {
        for (int i = 0; i < k; i++) {
            float *of_center = coefficients + i * N_COEFFICIENTS;
            centers[i * BANDS] += i;
            of_center[BANDS] = of_center[BANDS + 1] = 0;
            of_center[BANDS + 2] = 50;  // float32 decides for some pixels
            for (int b = 0; b < BANDS; b++) {
                of_center[b] = 125 - centers[i * BANDS + b];
                of_center[BANDS] += of_center[b] * of_center[b] / 2;
            }
        }
        void *args[] = {&values, &labels, &stride, &n, &offset, &scale, &coefficients,
                        &centers, &clusters, &offset, &steps_per_unit, &first, &kept, &totals};
        int bytes = 4 * k * N_COEFFICIENTS + copies * 8 * (k * N_SUMS + 1);
        if (const char *error = launch_assign(grid, threads, bytes, args)) return puts(error), 1;
    }
    void *args[] = {&values, &labels, &stride, &n, &centers, &steps_per_squared_unit,
                    &fine_steps_per_coarse, &steps, &farthest, &place};
    if (const char *error = launch_sum_squared_distances(grid, threads, threads * 32, args))
        return puts(error), 1;
    long long pixels = 0;
    for (int i = 0; i < k; i++) pixels += (long long)totals[i * N_SUMS + BANDS];
    printf("%lld pixels, farthest %g\n", pixels, farthest[0]);
    return 0;
}
