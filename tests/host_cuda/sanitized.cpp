// Both kernels on threads of the system and memory of exact size, for a sanitizer to watch.
#include <cstdio>
#include <cstdlib>

HOST_KERNEL(assign)
HOST_KERNEL(measure)

template <class T> static T *array(long n) { return (T *)calloc(n, sizeof(T)); }

int main() {
    const int k = 5, threads = 64, copies = 1;  // all threads meet at every sum
    const unsigned grid = 2;
    int64 n = 1100, stride = n;
    PIXEL *values = array<PIXEL>(BANDS * n);
    uint8 *labels = array<uint8>(n);
    double *offset = array<double>(BANDS), *unit = array<double>(BANDS);
    double *centers = array<double>(k * BANDS), *farthest = array<double>(grid);
    float *weights = array<float>(k * WIDTH);
    uint64 *totals = array<uint64>(k * WIDTH + 1), *total = array<uint64>(1);
    int64 *place = array<int64>(grid);
    for (int64 i = 0; i < BANDS * n; i++) values[i] = (PIXEL)(i * 7919 % 251);
    for (int64 i = 0; i < n; i += 10) labels[i] = MISSING;
    for (int b = 0; b < BANDS; b++) offset[b] = 125, unit[b] = 1;
    for (int i = 0; i < k * WIDTH; i++) weights[i] = (float)(i * 31 % 67 - 33);
    double gain = 1, square = 1;
    int clusters = k, kept = copies;
    for (int first = 1; first >= 0; first--) {
        for (int i = 0; i < k; i++) weights[i * WIDTH] += i;
        void *args[] = {&values, &labels, &stride, &n, &offset, &unit, &gain,
                        &weights, &clusters, &first, &kept, &totals};
        int size = k * WIDTH, bytes = 4 * size + copies * 8 * (size + 1);
        if (const char *error = launch_assign(grid, threads, bytes, args)) return puts(error), 1;
    }
    void *args[] = {&values, &labels, &stride, &n, &offset, &centers, &square, &total, &farthest,
                    &place};
    if (const char *error = launch_measure(grid, threads, threads * 24, args)) return puts(error), 1;
    long long pixels = 0;
    for (int i = 0; i < k; i++) pixels += (long long)totals[i * WIDTH + BANDS];
    printf("%lld pixels, farthest %g\n", pixels, farthest[0]);
    return 0;
}
