// Inter-image k-means on a GPU: the two passes over the pixels, for cupy_engine.py.
//
// Pixels lie band after band, values[band * stride + pixel], so that neighboring threads read
// neighboring addresses, whatever the number of bands. Given by the compiler's -D options:
//   PIXEL      type of the pixels, one of the names below
//   WORK       type in which they are shifted: float64 for float64, else float32
//   WHOLE      1 if they are integers, which are summed as they are, else 0
//   FARTHEST   pixels whose coordinates add up to more get all their distances in float64
//   BANDS      number of bands: loops over them are unrolled, and pixels stay in registers
//   PER_TURN   pixels that a thread works on at a time
//   IN_SHARED  1 if the sums of all clusters fit in the memory that the threads of a block share

typedef unsigned char uint8;
typedef unsigned short uint16;
typedef short int16;
typedef float float32;
typedef double float64;
typedef long long int64;
typedef unsigned long long uint64;

// A row of sums has the bands of a cluster and its count. A row of the table has -c of a center in
// each band, then what its scores begin with, and the bound of their error: b and a.
const int MISSING = 255, WIDTH = BANDS + 1, ROW = BANDS + 3;

// The functions with _rn round each step, as NumPy does; of a * b + c the compiler would make one.
__device__ float centered(float value, float offset, float gain) {
    return __fmul_rn(__fsub_rn(value, offset), gain);
}
__device__ float centered(double value, double offset, double gain) {
    return (float)__dmul_rn(__dsub_rn(value, offset), gain);
}

// Find the nearest center as the reference defines it: the least distance in float64 and, of equal
// ones, the first.
__device__ int nearest_in_float64(const PIXEL *values, int64 stride, int64 at,
                                  const double *centers, int k) {
    double least = __longlong_as_double(0x7ff0000000000000);  // infinity
    int nearest = 0;
    for (int i = 0; i < k; i++) {
        double squared = 0;
        for (int b = 0; b < BANDS; b++) {
            double away = __dsub_rn(values[b * stride + at], centers[i * BANDS + b]);
            squared = __dadd_rn(squared, __dmul_rn(away, away));
        }
        if (squared < least) least = squared, nearest = i;
    }
    return nearest;
}

// Add to a 64-bit sum in shared memory in two halves, and carry what leaves the lower one: there an
// atomic addition of 32 bits is one instruction, and of 64 a loop of attempts. Integers give the
// same sum in any order of adding, which floats do not.
__device__ void add(unsigned *low, unsigned *high, int64 value) {
    unsigned lower = (unsigned)value;
    unsigned carry = atomicAdd(low, lower) > ~lower;
    unsigned upper = (unsigned)(value >> 32) + carry;
    if (upper != 0) atomicAdd(high, upper);
}

// Label all pixels, and add up what that changed: totals[cluster * WIDTH + band] in fixed point,
// the number of pixels at band = BANDS, and last of all the number of labels that changed.
extern "C" __global__ void __launch_bounds__(256, 3)  // three blocks at a time: 80 registers each
assign(const PIXEL *__restrict__ values, uint8 *labels, int64 stride, int64 n,
       const double *__restrict__ offset, double gain, const float *__restrict__ rows,
       const double *__restrict__ centers, int k, const double *__restrict__ origin,
       const double *__restrict__ unit, int first, int copies, uint64 *totals) {
    const int size = k * WIDTH;
#if IN_SHARED
    // Each lane of a warp adds to a copy of its own: no two of them wait for one address.
    extern __shared__ uint64 memory[];
    unsigned *low = (unsigned *)memory, *high = low + (size + 1) * copies;
    float *table = (float *)(high + (size + 1) * copies);
    for (int i = threadIdx.x; i < 2 * (size + 1) * copies; i += blockDim.x) low[i] = 0;
    for (int i = threadIdx.x; i < k * ROW; i += blockDim.x) table[i] = rows[i];
    __syncthreads();
    const int copy = threadIdx.x & (copies - 1);
#define ADD(at, value) add(low + (at) * copies + copy, high + (at) * copies + copy, value)
#else
    const float *table = rows;
#define ADD(at, value) atomicAdd(totals + (at), (uint64)(value))
#endif
    WORK shift[BANDS];
    for (int b = 0; b < BANDS; b++) shift[b] = (WORK)offset[b];

    int changed = 0;
    const int64 turn = (int64)blockDim.x * PER_TURN;
    for (int64 start = blockIdx.x * turn + threadIdx.x; start < n; start += gridDim.x * turn) {
        // Several pixels at a time: they are under way from memory together, and each number of
        // the table that is fetched serves them all.
        const float infinity = __int_as_float(0x7f800000);
        float x[PER_TURN][BANDS], reach[PER_TURN], least[PER_TURN], second[PER_TURN];
        int nearest[PER_TURN], old[PER_TURN];
#pragma unroll
        for (int j = 0; j < PER_TURN; j++) {
            int64 at = start + j * (int)blockDim.x;
            old[j] = at < n ? labels[at] : MISSING;
            at = min(at, n - 1);  // past the end: read, not used
            reach[j] = 0;
#pragma unroll
            for (int b = 0; b < BANDS; b++) {
                x[j][b] = centered((WORK)values[b * stride + at], shift[b], (WORK)gain);
                reach[j] += fabsf(x[j][b]);
            }
            least[j] = second[j] = infinity;
            nearest[j] = 0;
        }
        // The nearest center has the least 1/2 |c|^2 - x.c. Each score is lowered by the bound of
        // its error, a + b reach, so that no true one can be less.
        for (int i = 0; i < k; i++) {
            const float *row = table + i * ROW;
#pragma unroll
            for (int j = 0; j < PER_TURN; j++) {
                float score = __fmaf_rn(-row[BANDS + 1], reach[j], row[BANDS]);
#pragma unroll
                for (int b = 0; b < BANDS; b++) score = __fmaf_rn(row[b], x[j][b], score);
                second[j] = fminf(second[j], fmaxf(least[j], score));
                if (score < least[j]) least[j] = score, nearest[j] = i;
            }
        }
#pragma unroll
        for (int j = 0; j < PER_TURN; j++) {
            if (old[j] == MISSING) continue;
            int64 at = start + j * (int)blockDim.x;
            // The first center is the nearest for certain if the second is farther by more than the
            // error of both. No comparison with NaN is true, and so float64 decides there too.
            const float *row = table + nearest[j] * ROW;
            float error = __fmaf_rn(row[BANDS + 1], reach[j], row[BANDS + 2]);
            if (!(second[j] - least[j] > 2 * error && reach[j] <= (float)FARTHEST))
                nearest[j] = nearest_in_float64(values, stride, at, centers, k);
            // Pixels that keep their label end here: after some iterations, nearly all.
            if (!first && old[j] == nearest[j]) continue;
            labels[at] = nearest[j];
            changed++;
#pragma unroll
            for (int b = 0; b <= BANDS; b++) {
                int64 value = 1;  // past the last band: one pixel
                if (b < BANDS && WHOLE) value = (int64)values[b * stride + at];
                if (b < BANDS && !WHOLE)
                    value = __double2ll_rn(
                        __dmul_rn(__dsub_rn(values[b * stride + at], origin[b]), unit[b]));
                ADD(nearest[j] * WIDTH + b, value);
                if (!first) ADD(old[j] * WIDTH + b, -value);
            }
        }
    }

    if (changed) ADD(size, changed);
#if IN_SHARED
    __syncthreads();
    for (int i = threadIdx.x; i <= size; i += blockDim.x) {
        uint64 sum = 0;
        for (int c = i * copies; c < (i + 1) * copies; c++) sum += ((uint64)high[c] << 32) + low[c];
        if (sum != 0) atomicAdd(totals + i, sum);
    }
#endif
}

// Whether a pixel is farther from its center than another; of equally far ones, whether it comes
// first in order of the first band, then the second and so on: the same one however work is cut.
__device__ bool farther(const PIXEL *values, int64 stride, double squared, int64 at,
                        double other, int64 than) {
    if (squared != other || squared < 0) return squared > other;
    for (int b = 0; b < BANDS; b++) {
        PIXEL one = values[b * stride + at], two = values[b * stride + than];
        if (one != two) return one < two;
    }
    return false;
}

// Add up the squared distances of all pixels to the centers of their labels, in coarse steps and
// what these leave in fine ones, and find each block's farthest pixel.
extern "C" __global__ void __launch_bounds__(256, 3)
measure(const PIXEL *__restrict__ values, const uint8 *__restrict__ labels, int64 stride, int64 n,
        const double *__restrict__ centers, double square, double fraction, uint64 *totals,
        double *farthest, int64 *place) {
    double largest = -1;
    int64 where = 0, coarse = 0, fine = 0;
    const int64 turn = (int64)gridDim.x * blockDim.x;
    for (int64 at = (int64)blockIdx.x * blockDim.x + threadIdx.x; at < n; at += turn) {
        if (labels[at] == MISSING) continue;
        double squared = 0;
        for (int b = 0; b < BANDS; b++) {
            double away = __dsub_rn(values[b * stride + at], centers[labels[at] * BANDS + b]);
            squared = __dadd_rn(squared, __dmul_rn(away, away));
        }
        double exact = __dmul_rn(squared, square), steps = rint(exact);
        coarse += __double2ll_rn(steps);
        fine += __double2ll_rn(__dmul_rn(__dsub_rn(exact, steps), fraction));
        if (farther(values, stride, squared, at, largest, where)) largest = squared, where = at;
    }

    // A tree: half of the threads take over what the other half found, until one is left.
    extern __shared__ uint64 memory[];
    int64 *whole = (int64 *)memory, *rest = whole + blockDim.x, *places = rest + blockDim.x;
    double *distances = (double *)(places + blockDim.x);
    const int me = threadIdx.x;
    whole[me] = coarse, rest[me] = fine, places[me] = where, distances[me] = largest;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        int you = me + half;
        if (me >= half) continue;
        whole[me] += whole[you], rest[me] += rest[you];
        if (farther(values, stride, distances[you], places[you], distances[me], places[me]))
            distances[me] = distances[you], places[me] = places[you];
    }
    if (me == 0) {
        atomicAdd(totals, (uint64)whole[0]), atomicAdd(totals + 1, (uint64)rest[0]);
        farthest[blockIdx.x] = distances[0], place[blockIdx.x] = places[0];
    }
}
