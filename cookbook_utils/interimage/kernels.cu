// Inter-image k-means on a GPU: the two passes over the pixels, launched by
// cupy_kernels.py.
//
// Pixels lie band after band, values[band * stride + pixel], so that
// neighboring threads read neighboring addresses, whatever the number of
// bands. The compiler's -D options define:
//   PIXEL              type of the pixels, one of the names below
//   LABEL              type of the labels, uint8 or uint16; its largest number
//                      is nodata
//   WORK               type in which pixels are shifted: float64 for float64,
//                      else float32
//   INTEGER_PIXELS     1 if pixels are integers, which are summed as they are,
//                      else 0
//   FARTHEST           pixels whose absolute coordinates add up to more get
//                      distances in float64
//   BANDS              number of bands: loops over them are unrolled, and
//                      pixels stay in registers
//   PIXELS_PER_THREAD  pixels that a thread works on at a time
//   IN_SHARED          1 if the sums of all clusters fit in the shared memory
//                      of a thread block

typedef unsigned char uint8;
typedef unsigned short uint16;
typedef short int16;
typedef float float32;
typedef double float64;
typedef long long int64;
typedef unsigned long long uint64;

// The sums of a cluster are those of its bands and its number of pixels. The
// coefficients of a center are -c in each band, then 1/2 |c|^2 - a, and the
// error coefficients b and a.
const int NODATA_LABEL = (LABEL)~0,
          N_SUMS = BANDS + 1, N_COEFFICIENTS = BANDS + 3;

// Functions with _rn round after each step, as NumPy does. The compiler could
// otherwise fuse a * b + c into one instruction that rounds once.
__device__ float centered(float value, float offset, float scale) {
    return __fmul_rn(__fsub_rn(value, offset), scale);
}
__device__ float centered(double value, double offset, double scale) {
    return (float)__dmul_rn(__dsub_rn(value, offset), scale);
}

// Return the nearest center by definition: the least distance in float64 and,
// of equally near centers, the first.
__device__ int nearest_in_float64(const PIXEL *values, int64 stride, int64 at,
                                  const double *centers, int k) {
    double least = __longlong_as_double(0x7ff0000000000000);  // infinity
    int nearest = 0;
    for (int i = 0; i < k; i++) {
        double squared = 0;
        for (int b = 0; b < BANDS; b++) {
            double difference =
                __dsub_rn(values[b * stride + at], centers[i * BANDS + b]);
            squared = __dadd_rn(squared, __dmul_rn(difference, difference));
        }
        if (squared < least) least = squared, nearest = i;
    }
    return nearest;
}

// Add to a 64-bit sum in shared memory in two halves, with a carry. An atomic
// addition of 32 bits to shared memory is one instruction; one of 64 bits is a
// loop of compare-and-swap. Integers have the same sum in any order of
// addition, unlike floats.
__device__ void add(unsigned *low, unsigned *high, int64 value) {
    unsigned lower = (unsigned)value;
    unsigned carry = atomicAdd(low, lower) > ~lower;
    unsigned upper = (unsigned)(value >> 32) + carry;
    if (upper != 0) atomicAdd(high, upper);
}

// Label all pixels and add up the changes: totals[cluster * N_SUMS + band] in
// fixed point, the number of pixels at band = BANDS, and in the last element
// the number of labels that changed. With three blocks at a time, each thread
// has 80 registers.
extern "C" __global__ void __launch_bounds__(256, 3)
assign(const PIXEL *__restrict__ values, LABEL *labels, int64 stride, int64 n,
       const double *__restrict__ offset, double scale,
       const float *__restrict__ all_coefficients,
       const double *__restrict__ centers, int k,
       const double *__restrict__ fixed_offset,
       const double *__restrict__ steps_per_unit, int first, int copies,
       uint64 *totals) {
    const int size = k * N_SUMS;
#if IN_SHARED
    // Each lane of a warp adds to its own copy of the sums, so that no two
    // lanes contend for one address.
    extern __shared__ uint64 memory[];
    unsigned *low = (unsigned *)memory, *high = low + (size + 1) * copies;
    float *coefficients = (float *)(high + (size + 1) * copies);
    for (int i = threadIdx.x; i < 2 * (size + 1) * copies; i += blockDim.x)
        low[i] = 0;
    for (int i = threadIdx.x; i < k * N_COEFFICIENTS; i += blockDim.x)
        coefficients[i] = all_coefficients[i];
    __syncthreads();
    const int copy = threadIdx.x & (copies - 1);
#define ADD(at, value) \
    add(low + (at) * copies + copy, high + (at) * copies + copy, value)
#else
    const float *coefficients = all_coefficients;
#define ADD(at, value) atomicAdd(totals + (at), (uint64)(value))
#endif
    WORK shift[BANDS];
    for (int b = 0; b < BANDS; b++) shift[b] = (WORK)offset[b];

    int changed = 0;
    const int64 turn = (int64)blockDim.x * PIXELS_PER_THREAD;
    for (int64 start = blockIdx.x * turn + threadIdx.x; start < n;
         start += gridDim.x * turn) {
        // Several pixels at a time: their loads from memory overlap, and each
        // coefficient that is loaded serves all of them.
        const float infinity = __int_as_float(0x7f800000);
        float x[PIXELS_PER_THREAD][BANDS], reach[PIXELS_PER_THREAD];
        float least[PIXELS_PER_THREAD], second[PIXELS_PER_THREAD];
        int nearest[PIXELS_PER_THREAD], old[PIXELS_PER_THREAD];
#pragma unroll
        for (int j = 0; j < PIXELS_PER_THREAD; j++) {
            int64 at = start + j * (int)blockDim.x;
            old[j] = at < n ? labels[at] : NODATA_LABEL;
            at = min(at, n - 1);  // past the end: loaded, not used
            reach[j] = 0;
#pragma unroll
            for (int b = 0; b < BANDS; b++) {
                x[j][b] = centered((WORK)values[b * stride + at], shift[b],
                                   (WORK)scale);
                reach[j] += fabsf(x[j][b]);
            }
            least[j] = second[j] = infinity;
            nearest[j] = 0;
        }
        // The nearest center has the least score 1/2 |c|^2 - x.c. Each score
        // is lowered by the bound of its error, a + b reach, so that the exact
        // score cannot be less.
        for (int i = 0; i < k; i++) {
            const float *of_center = coefficients + i * N_COEFFICIENTS;
#pragma unroll
            for (int j = 0; j < PIXELS_PER_THREAD; j++) {
                float score = __fmaf_rn(-of_center[BANDS + 1], reach[j],
                                        of_center[BANDS]);
#pragma unroll
                for (int b = 0; b < BANDS; b++)
                    score = __fmaf_rn(of_center[b], x[j][b], score);
                second[j] = fminf(second[j], fmaxf(least[j], score));
                if (score < least[j]) least[j] = score, nearest[j] = i;
            }
        }
#pragma unroll
        for (int j = 0; j < PIXELS_PER_THREAD; j++) {
            if (old[j] == NODATA_LABEL) continue;
            int64 at = start + j * (int)blockDim.x;
            // The first center is the nearest for certain if its gap to the
            // second exceeds the errors of both. A comparison with NaN is
            // false: there float64 decides, too.
            const float *of_center =
                coefficients + nearest[j] * N_COEFFICIENTS;
            float error = __fmaf_rn(of_center[BANDS + 1], reach[j],
                                    of_center[BANDS + 2]);
            if (!(second[j] - least[j] > 2 * error
                  && reach[j] <= (float)FARTHEST))
                nearest[j] =
                    nearest_in_float64(values, stride, at, centers, k);
            // Pixels that keep their label end here: after some iterations,
            // nearly all do.
            if (!first && old[j] == nearest[j]) continue;
            labels[at] = nearest[j];
            changed++;
#pragma unroll
            for (int b = 0; b <= BANDS; b++) {
                int64 value = 1;  // past the last band: the number of pixels
                if (b < BANDS && INTEGER_PIXELS)
                    value = (int64)values[b * stride + at];
                if (b < BANDS && !INTEGER_PIXELS)
                    value = __double2ll_rn(__dmul_rn(
                        __dsub_rn(values[b * stride + at], fixed_offset[b]),
                        steps_per_unit[b]));
                ADD(nearest[j] * N_SUMS + b, value);
                if (!first) ADD(old[j] * N_SUMS + b, -value);
            }
        }
    }

    if (changed) ADD(size, changed);
#if IN_SHARED
    __syncthreads();
    for (int i = threadIdx.x; i <= size; i += blockDim.x) {
        uint64 sum = 0;
        for (int c = i * copies; c < (i + 1) * copies; c++)
            sum += ((uint64)high[c] << 32) + low[c];
        if (sum != 0) atomicAdd(totals + i, sum);
    }
#endif
}

// Return whether a pixel is farther from its center than another one. Of
// equally far pixels, the one with the smaller value in the first band that
// differs counts as farther, so that the result does not depend on the order
// in which pixels are compared.
__device__ bool farther(const PIXEL *values, int64 stride, double squared,
                        int64 at, double other_squared, int64 other) {
    if (squared != other_squared || squared < 0)
        return squared > other_squared;
    for (int b = 0; b < BANDS; b++) {
        PIXEL one = values[b * stride + at], two = values[b * stride + other];
        if (one != two) return one < two;
    }
    return false;
}

// Sum the squared distances of all pixels to the centers of their labels, in
// coarse steps, with their remainders in fine steps, and find the farthest
// pixel of each thread block.
extern "C" __global__ void __launch_bounds__(256, 3)
sum_squared_distances(const PIXEL *__restrict__ values,
                      const LABEL *__restrict__ labels, int64 stride, int64 n,
                      const double *__restrict__ centers,
                      double steps_per_squared_unit,
                      double fine_steps_per_coarse, uint64 *totals,
                      double *block_largest, int64 *block_farthest) {
    double largest = -1;
    int64 farthest = 0, coarse = 0, fine = 0;
    const int64 turn = (int64)gridDim.x * blockDim.x;
    for (int64 at = (int64)blockIdx.x * blockDim.x + threadIdx.x; at < n;
         at += turn) {
        if (labels[at] == NODATA_LABEL) continue;
        double squared = 0;
        for (int b = 0; b < BANDS; b++) {
            double difference = __dsub_rn(values[b * stride + at],
                                          centers[labels[at] * BANDS + b]);
            squared = __dadd_rn(squared, __dmul_rn(difference, difference));
        }
        double exact = __dmul_rn(squared, steps_per_squared_unit),
               steps = rint(exact);
        coarse += __double2ll_rn(steps);
        fine += __double2ll_rn(
            __dmul_rn(__dsub_rn(exact, steps), fine_steps_per_coarse));
        if (farther(values, stride, squared, at, largest, farthest))
            largest = squared, farthest = at;
    }

    // Tree reduction: half of the threads take over the results of the other
    // half, until one thread is left.
    extern __shared__ uint64 memory[];
    int64 *coarse_sums = (int64 *)memory,
          *fine_sums = coarse_sums + blockDim.x;
    int64 *positions = fine_sums + blockDim.x;
    double *distances = (double *)(positions + blockDim.x);
    const int me = threadIdx.x;
    coarse_sums[me] = coarse, fine_sums[me] = fine;
    positions[me] = farthest, distances[me] = largest;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        int you = me + half;
        if (me >= half) continue;
        coarse_sums[me] += coarse_sums[you], fine_sums[me] += fine_sums[you];
        if (farther(values, stride, distances[you], positions[you],
                    distances[me], positions[me]))
            distances[me] = distances[you], positions[me] = positions[you];
    }
    if (me == 0) {
        atomicAdd(totals, (uint64)coarse_sums[0]),
            atomicAdd(totals + 1, (uint64)fine_sums[0]);
        block_largest[blockIdx.x] = distances[0],
        block_farthest[blockIdx.x] = positions[0];
    }
}
