/* The bandwidth of memory as STREAM measures it (McCalpin 1995): copy a = b and triad a = b + s c, with plain and with streaming
 * stores, on as many ranks and threads as it is started with.
 *
 *   mpicc -O3 -march=native -fopenmp -o triad benches/triad.c
 *   OMP_NUM_THREADS=1 mpirun -n 2 ./triad 128 20        MiB of one array, of all ranks together; repetitions
 *
 * Counted as STREAM does: 16 bytes an element of copy, 24 of triad, the best of the repetitions, without what plain stores read
 * only to overwrite it. An array should have at least four times the last cache.
 */
#include <immintrin.h>
#include <mpi.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define INLINE static inline __attribute__((always_inline))

#if defined __AVX512F__
typedef __m512d Lanes;
#define STREAM _mm512_stream_pd
#elif defined __AVX__
typedef __m256d Lanes;
#define STREAM _mm256_stream_pd
#else
typedef __m128d Lanes;
#define STREAM _mm_stream_pd
#endif
enum { LANES = sizeof(Lanes) / sizeof(double), LINE = 8 };
typedef enum { COPY, TRIAD } Kernel;

INLINE void loop(double *restrict a, const double *restrict b, const double *restrict c, long n, Kernel kernel, int streaming) {
    const double s = 3.0;
    for (long i = 0; i < n; i += LANES) {
        Lanes value = *(const Lanes *)(b + i);
        if (kernel == TRIAD) value += s * *(const Lanes *)(c + i);
        if (streaming) STREAM(a + i, value);
        else *(Lanes *)(a + i) = value;
    }
    if (streaming) _mm_sfence();
}

/* Bytes per second of all ranks, by STREAM's count. */
static double best(double *a, double *b, double *c, long n, int repetitions, Kernel kernel, int streaming) {
    double least = 1e300;
    for (int repetition = 0; repetition < repetitions; repetition++) {
        MPI_Barrier(MPI_COMM_WORLD);
        const double start = MPI_Wtime();
#pragma omp parallel
        {
            const long threads = omp_get_num_threads(), lines = n / LINE, thread = omp_get_thread_num();
            const long from = lines * thread / threads * LINE, to = lines * (thread + 1) / threads * LINE;
            if (kernel == COPY && !streaming) loop(a + from, b + from, c + from, to - from, COPY, 0);
            if (kernel == COPY && streaming) loop(a + from, b + from, c + from, to - from, COPY, 1);
            if (kernel == TRIAD && !streaming) loop(a + from, b + from, c + from, to - from, TRIAD, 0);
            if (kernel == TRIAD && streaming) loop(a + from, b + from, c + from, to - from, TRIAD, 1);
        }
        /* From the first rank's start to the last one's end: the ranks of one node have one clock. */
        double ends[2] = {-start, MPI_Wtime()};
        MPI_Allreduce(MPI_IN_PLACE, ends, 2, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
        if (ends[0] + ends[1] < least) least = ends[0] + ends[1];
    }
    double elements = n;
    MPI_Allreduce(MPI_IN_PLACE, &elements, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return elements * (kernel == COPY ? 16 : 24) / least;
}

static double *array(long n, double value) {
    const size_t page = (size_t)2 << 20, bytes = (n * sizeof(double) + page - 1) / page * page;
    void *memory = NULL;
    if (posix_memalign(&memory, page, bytes)) MPI_Abort(MPI_COMM_WORLD, 2);
    madvise(memory, bytes, MADV_HUGEPAGE);
    double *a = memory;
    /* Each thread touches its own part first. */
#pragma omp parallel for schedule(static)
    for (long line = 0; line < n / LINE; line++)
        for (int i = 0; i < LINE; i++) a[line * LINE + i] = value;
    return a;
}

int main(int argc, char **argv) {
    int rank, ranks, provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    const double mebibytes = argc > 1 ? atof(argv[1]) : 128;
    const int repetitions = argc > 2 ? atoi(argv[2]) : 20;
    const long n = (long)(mebibytes * (1 << 20) / sizeof(double) / ranks) / LINE * LINE;
    if (n < LINE || repetitions < 1) {
        fprintf(stderr, "error: an array needs a size in MiB, and at least one repetition\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    double *a = array(n, 0), *b = array(n, 1), *c = array(n, 2);
    double rates[2][2];
    for (Kernel kernel = COPY; kernel <= TRIAD; kernel++)
        for (int streaming = 0; streaming < 2; streaming++)
            rates[kernel][streaming] = best(a, b, c, n, repetitions, kernel, streaming);
    /* The last was triad: 1 + 3 · 2 everywhere. */
    double wrong = 0;
    for (long i = 0; i < n; i++) wrong += a[i] != 7;
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0)
        printf("{\"program\": \"triad\", \"mebibytes\": %.0f, \"ranks\": %d, \"threads\": %d, \"copy_plain\": %.4g, "
               "\"copy_streaming\": %.4g, \"triad_plain\": %.4g, \"triad_streaming\": %.4g, \"check\": %.0f}\n",
               mebibytes, ranks, omp_get_max_threads(), rates[COPY][0], rates[COPY][1], rates[TRIAD][0], rates[TRIAD][1], wrong);
    MPI_Finalize();
    return 0;
}
