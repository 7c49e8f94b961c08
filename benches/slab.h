/* What heat.c and gray_scott.c share: forward Euler with a 7-point stencil on a periodic cube of n³ cells, by hand, as fast as
 * plain C and MPI go with one sweep an exchange. A program defines PROGRAM (its name), FIELDS, INITIAL and UPDATE and includes this.
 *
 * - A slab of planes along z for each rank, and a share of these for each thread, which touches its memory first.
 * - x and y wrap by pointers and by two lanes of a row, not by ghosts: nothing is copied, no line is read for a ghost. Only
 *   along z, between ranks, are there ghost planes; a plane of all fields lies in one piece, so that it goes in one message
 *   and straight from where it was computed to where it is read.
 * - While the planes fly, the inner ones are computed; the outer ones come last.
 * - Tiles in y, through all planes of a slab: three planes of a tile stay in the L2 cache, so that each value is read from
 *   beyond it once a sweep.
 * - The plane above is fetched four rows ahead of its use, which the hardware does not do for short runs in a tile. Heat on one
 *   core of a fifth EPYC, best of many steps, million updates a second without and with it: 1760 and 2190 at 128³, 1420 and 1710
 *   at 256³; with streaming stores 1530 and 2690, 1390 and 2110. Fetching the lines to be written, too, brings nothing.
 * - Rows are whole vectors, aligned to cache lines, and one line apart, so that planes do not fall on the same sets.
 *
 * Options: N STEPS [--stores plain|streaming] [--pages small|huge] [--tile ROWS]. Streaming stores go past the caches: a cell
 * costs 16 bytes of traffic a field instead of 24, as no line is read only to be overwritten.
 */
#include <immintrin.h>
#include <math.h>
#include <mpi.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define INLINE static inline __attribute__((always_inline))

#if defined __AVX512F__
enum { LANES = 8 };
#define STREAM(to, value) _mm512_stream_pd(to, (__m512d)(value))
#elif defined __AVX__
enum { LANES = 4 };
#define STREAM(to, value) _mm256_stream_pd(to, (__m256d)(value))
#else
enum { LANES = 2 };
#define STREAM(to, value) _mm_stream_pd(to, (__m128d)(value))
#endif
typedef double Lanes __attribute__((vector_size(8 * LANES), may_alias));
typedef double Loose __attribute__((vector_size(8 * LANES), may_alias, aligned(8)));

enum { LINE = 8, AHEAD = 4 }; /* doubles in a cache line; rows between a fetch and its use */
typedef enum { PLAIN, STREAMING } Stores;
typedef enum { FIRST, INNER, LAST } Place; /* of a vector in its row */

/* The five rows that a row of the result depends on, and one to be fetched for later, of the first field; field f lies
 * f * field further. */
typedef struct {
    const double *here, *south, *north, *below, *above, *ahead;
    long n, field;
} Rows;

INLINE Lanes load(const double *from) { return (Lanes)*(const Loose *)from; }

INLINE void store(double *to, Lanes value, Stores stores) {
    if (stores == STREAMING) STREAM(to, value);
    else *(Lanes *)to = value;
}

/* The sum of a cell's six neighbours in field f, for the cells from x on. */
INLINE Lanes six(Rows r, int f, long x, Place place) {
    const long at = f * r.field + x;
    __builtin_prefetch(r.ahead + at);
    Lanes left = load(r.here + at - 1), right = load(r.here + at + 1);
    if (place == FIRST) left[0] = r.here[at + r.n - 1];
    if (place == LAST) right[LANES - 1] = r.here[at + LANES - r.n];
    return ((left + right) + (load(r.south + at) + load(r.north + at))) + (load(r.below + at) + load(r.above + at));
}

/* What the program defines. */
static double INITIAL(int f, long x, long y, long z, long n);
INLINE void UPDATE(Rows r, double *next, long x, Place place, Stores stores);

typedef struct {
    long n, depth, row, field, layer, tile; /* depth: planes of this rank; row, field, layer: doubles from one to the next */
    int ranks;
} Slab;

/* Computes the planes z0 to z1 and the rows y0 to y1 of v from u. */
INLINE void sweep_with(const Slab *s, const double *u, double *v, long z0, long z1, long y0, long y1, Stores stores) {
    const long n = s->n, row = s->row, layer = s->layer, top = s->depth - 1;
    for (long y_tile = y0; y_tile < y1; y_tile += s->tile) {
        const long y_end = y_tile + s->tile < y1 ? y_tile + s->tile : y1;
        for (long z = z0; z < z1; z++) {
            const double *here = u + z * layer;
            const double *below = s->ranks == 1 && z == 0 ? u + top * layer : here - layer;
            const double *above = s->ranks == 1 && z == top ? u : here + layer;
            for (long y = y_tile; y < y_end; y++) {
                const long at = y * row, south = (y == 0 ? n - 1 : y - 1) * row, north = (y == n - 1 ? 0 : y + 1) * row;
                /* At the end of a tile's plane it goes on with the next plane. */
                const long later = y + AHEAD, ahead = later < y_end ? later * row : layer + (y_tile + later - y_end) * row;
                const Rows r = {here + at, here + south, here + north, below + at, above + at, above + ahead, n, s->field};
                double *next = v + z * layer + at;
                UPDATE(r, next, 0, FIRST, stores);
                for (long x = LANES; x < n - LANES; x += LANES) UPDATE(r, next, x, INNER, stores);
                UPDATE(r, next, n - LANES, LAST, stores);
            }
        }
    }
}

static void sweep(const Slab *s, const double *u, double *v, long z0, long z1, long y0, long y1, Stores stores) {
    if (stores == PLAIN) {
        sweep_with(s, u, v, z0, z1, y0, y1, PLAIN);
    } else {
        sweep_with(s, u, v, z0, z1, y0, y1, STREAMING);
        _mm_sfence();
    }
}

/* Three planes of a tile fill half of the L2 cache, and what is written has the other half: 79 rows of 256 cells for one field and
 * 1 MiB. Half and twice as many are within the noise of it; with 16 rows a tenth is lost, as each tile reads a row on either side
 * again. */
static long rows_of_a_tile(long row) {
    const long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE), rows = (l2 > 0 ? l2 : 1 << 20) / 2 / (3 * FIELDS * row * (long)sizeof(double));
    return rows < 4 ? 4 : rows;
}

static void stop(const char *message) {
    fprintf(stderr, "error: %s\n", message);
    MPI_Abort(MPI_COMM_WORLD, 2);
}

/* Untouched memory, aligned to huge pages and of huge or of small ones. */
static double *memory(size_t bytes, int huge) {
    const size_t page = (size_t)2 << 20;
    void *memory = NULL;
    bytes = (bytes + page - 1) / page * page;
    if (posix_memalign(&memory, page, bytes)) stop("not enough memory");
    madvise(memory, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return memory;
}

/* A choice between two words. */
static int choose(const char *option, const char *word, const char *no, const char *yes) {
    if (!strcmp(word, yes)) return 1;
    if (strcmp(word, no)) {
        fprintf(stderr, "%s takes %s or %s\n", option, no, yes);
        stop("a bad option");
    }
    return 0;
}

/* From which to which of n a part of several goes. */
static long share(long n, int part, int parts) { return n * part / parts; }

int main(int argc, char **argv) {
    int rank, ranks, provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    const int threads = omp_get_max_threads();
    long n = 256, steps = 100, tile = 0;
    int huge = 0, numbers = 0;
    Stores stores = PLAIN;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--stores")) stores = choose(argv[i++], value, "plain", "streaming") ? STREAMING : PLAIN;
        else if (!strcmp(argv[i], "--pages")) huge = choose(argv[i++], value, "small", "huge");
        else if (!strcmp(argv[i], "--tile")) tile = atol(value), i++;
        else if (numbers++ == 0) n = atol(argv[i]);
        else steps = atol(argv[i]);
    }
    if (n < 2 * LINE || n % LINE || steps < 1) stop("N must be a multiple of 8, at least 16, and STEPS at least 1");
    const long first = share(n, rank, ranks), depth = share(n, rank + 1, ranks) - first;
    if (ranks > 1 && depth < 2) stop("each rank needs two planes");

    const long row = n + LINE, field = n * row, layer = FIELDS * field;
    Slab s = {n, depth, row, field, layer, tile > 0 ? tile : rows_of_a_tile(row), ranks};
    /* A line before the first ghost plane and after the last: the unaligned loads of a row reach a cell beyond it. Between
     * the buffers an odd number of lines, so that reading and writing do not meet in the same sets. */
    const size_t buffer = (depth + 2) * layer + 37 * LINE;
    double *all = memory((2 * buffer + 2 * LINE) * sizeof *all, huge);
    double *const buffers[2] = {all + LINE + layer, all + LINE + layer + buffer};
    const int up = (rank + 1) % ranks, down = (rank + ranks - 1) % ranks;
    double seconds = 0;

#pragma omp parallel
    {
        const int thread = omp_get_thread_num();
        /* With neighbours, the outer planes wait for them; without, there are none. */
        const long inner = ranks > 1 ? 1 : 0, within = depth - 2 * inner;
        const long z0 = inner + share(within, thread, threads), z1 = inner + share(within, thread + 1, threads);
        const long y0 = share(n, thread, threads), y1 = share(n, thread + 1, threads);
        const long touch0 = thread == 0 ? -1 : z0, touch1 = thread == threads - 1 ? depth + 1 : z1;
        double *u = buffers[0], *v = buffers[1];
        memset(u + touch0 * layer, 0, (touch1 - touch0) * layer * sizeof *u);
        memset(v + touch0 * layer, 0, (touch1 - touch0) * layer * sizeof *v);
        for (long z = touch0 < 0 ? 0 : touch0; z < (touch1 > depth ? depth : touch1); z++)
            for (int f = 0; f < FIELDS; f++)
                for (long y = 0; y < n; y++)
                    for (long x = 0; x < n; x++) u[z * layer + f * field + y * row + x] = INITIAL(f, x, y, first + z, n);
#pragma omp barrier
#pragma omp master
        {
            MPI_Barrier(MPI_COMM_WORLD);
            seconds = MPI_Wtime();
        }
        for (long step = 0; step < steps; step++) {
            MPI_Request requests[4];
            if (ranks > 1 && thread == 0) {
                MPI_Irecv(u - layer, layer, MPI_DOUBLE, down, 0, MPI_COMM_WORLD, &requests[0]);
                MPI_Irecv(u + depth * layer, layer, MPI_DOUBLE, up, 1, MPI_COMM_WORLD, &requests[1]);
                MPI_Isend(u + (depth - 1) * layer, layer, MPI_DOUBLE, up, 0, MPI_COMM_WORLD, &requests[2]);
                MPI_Isend(u, layer, MPI_DOUBLE, down, 1, MPI_COMM_WORLD, &requests[3]);
            }
            sweep(&s, u, v, z0, z1, 0, n, stores);
            if (ranks > 1) {
                if (thread == 0) MPI_Waitall(4, requests, MPI_STATUSES_IGNORE);
#pragma omp barrier
                sweep(&s, u, v, 0, 1, y0, y1, stores);
                sweep(&s, u, v, depth - 1, depth, y0, y1, stores);
            }
            double *swap = u;
            u = v;
            v = swap;
#pragma omp barrier
        }
#pragma omp master
        {
            MPI_Barrier(MPI_COMM_WORLD);
            seconds = MPI_Wtime() - seconds;
        }
    }

    /* Summed plane by plane, then over the planes in their order: the same on any number of ranks and threads. */
    const double *u = buffers[steps % 2];
    double *sums = calloc(n, sizeof *sums), check = 0;
    for (long z = 0; z < depth; z++)
        for (int f = 0; f < FIELDS; f++)
            for (long y = 0; y < n; y++)
                for (long x = 0; x < n; x++) {
                    const double value = u[z * layer + f * field + y * row + x];
                    sums[first + z] += value * value;
                }
    MPI_Allreduce(MPI_IN_PLACE, sums, n, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (long z = 0; z < n; z++) check += sums[z];
    if (rank == 0)
        printf("{\"program\": \"%s\", \"cells\": %ld, \"steps\": %ld, \"ranks\": %d, \"threads\": %d, \"stores\": \"%s\", "
               "\"pages\": \"%s\", \"tile\": %ld, \"lanes\": %d, \"million_updates_per_second\": %.2f, \"seconds\": %.6f, "
               "\"check\": %.15g}\n",
               PROGRAM, n, steps, ranks, threads, stores == PLAIN ? "plain" : "streaming", huge ? "huge" : "small", s.tile, LANES,
               (double)n * n * n * steps / seconds / 1e6, seconds, check);
    MPI_Finalize();
    return 0;
}
