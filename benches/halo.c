/* The exchange of a halo by bare MPI: two ranks, each with a box of n³ cells of four f64, side by side in a domain that is
 * periodic along all axes. The other rank is the neighbour on both sides along the axis that is cut, and a rank is its own along
 * the others: two faces of n² cells go to the other rank, in one message each way.
 *
 *   mpicc -O3 -march=native -o halo benches/halo.c && mpirun -n 2 ./halo 64 2000 [cut: x, y or z]
 *
 * Three times are measured: that of the messages alone, from buffers that are packed already and never change; the same where
 * each message has new numbers, which the other rank does not have in its cache yet, without the time it takes to write them; and
 * that of an exchange by hand, with packing, unpacking and the copies within the rank, so that every ghost of the six faces has
 * its value. The last is checked with cells that hold their own coordinates.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMPONENTS = 4 };

typedef struct {
    long n, rows, layer, field; /* cells along an axis; doubles from one row, plane, component to the next */
    double *cells;              /* the first cell of the interior; ghosts lie before and behind */
} Box;

/* One plane of ghosts or of cells across an axis: where it starts, and its two strides. */
typedef struct {
    long start, inner, outer;
} Face;

static Face face(const Box *b, int axis, long at) {
    const long strides[3] = {1, b->rows, b->layer};
    return (Face){at * strides[axis], strides[axis == 0 ? 1 : 0], strides[axis == 2 ? 1 : 2]};
}

static double *pack(const Box *b, Face f, double *to) {
    for (int c = 0; c < COMPONENTS; c++)
        for (long j = 0; j < b->n; j++) {
            const double *from = b->cells + c * b->field + f.start + j * f.outer;
            for (long i = 0; i < b->n; i++) *to++ = from[i * f.inner];
        }
    return to;
}

static const double *unpack(Box *b, Face f, const double *from) {
    for (int c = 0; c < COMPONENTS; c++)
        for (long j = 0; j < b->n; j++) {
            double *to = b->cells + c * b->field + f.start + j * f.outer;
            for (long i = 0; i < b->n; i++) to[i * f.inner] = *from++;
        }
    return from;
}

static void copy(Box *b, Face from, Face to) {
    for (int c = 0; c < COMPONENTS; c++)
        for (long j = 0; j < b->n; j++) {
            const double *source = b->cells + c * b->field + from.start + j * from.outer;
            double *target = b->cells + c * b->field + to.start + j * to.outer;
            for (long i = 0; i < b->n; i++) target[i * to.inner] = source[i * from.inner];
        }
}

/* The value of a cell by its place in the whole domain, which wraps. */
static double value(const Box *b, int cut, int rank, int c, const long *place) {
    long number = c;
    for (int axis = 0; axis < 3; axis++) {
        const long whole = axis == cut ? 2 * b->n : b->n, at = place[axis] + (axis == cut ? rank * b->n : 0);
        number = number * 1000 + (at + whole) % whole;
    }
    return (double)number;
}

/* Sets the interior, or counts the ghosts of the faces that are not what they should be. */
static long visit(Box *b, int cut, int rank, int set) {
    long wrong = 0, p[3];
    for (int c = 0; c < COMPONENTS; c++)
        for (p[2] = -1; p[2] <= b->n; p[2]++)
            for (p[1] = -1; p[1] <= b->n; p[1]++)
                for (p[0] = -1; p[0] <= b->n; p[0]++) {
                    int outside = 0;
                    for (int axis = 0; axis < 3; axis++) outside += p[axis] < 0 || p[axis] >= b->n;
                    double *cell = b->cells + c * b->field + p[2] * b->layer + p[1] * b->rows + p[0];
                    if (set) *cell = outside ? -1 : value(b, cut, rank, c, p);
                    else if (outside == 1) wrong += *cell != value(b, cut, rank, c, p);
                }
    return wrong;
}

int main(int argc, char **argv) {
    int rank, ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    const long n = argc > 1 ? atol(argv[1]) : 64, repetitions = argc > 2 ? atol(argv[2]) : 2000;
    const int cut = argc > 3 ? argv[3][0] - 'x' : 0, other = 1 - rank;
    if (ranks != 2 || n < 1 || n > 400 || repetitions < 1 || cut < 0 || cut > 2) {
        if (rank == 0) fprintf(stderr, "error: it takes 2 ranks, a box of 1 to 400 cells, a number of repetitions, and x, y or z\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    Box b = {n, n + 2, (n + 2) * (n + 2), (n + 2) * (n + 2) * (n + 2), NULL};
    double *memory = calloc(COMPONENTS * b.field, sizeof *memory);
    const int count = 2 * COMPONENTS * n * n;
    double *out = calloc(count, sizeof *out), *in = calloc(count, sizeof *in);
    if (!memory || !out || !in) MPI_Abort(MPI_COMM_WORLD, 2);
    b.cells = memory + b.layer + b.rows + 1;
    visit(&b, cut, rank, 1);

    enum { ALONE, FRESH, BY_HAND, WAYS };
    double seconds[WAYS];
    for (int way = 0; way < WAYS; way++) {
        const int by_hand = way == BY_HAND;
        double writing = 0;
        for (long repetition = -repetitions / 10; repetition < repetitions; repetition++) {
            if (repetition == 0) {
                MPI_Barrier(MPI_COMM_WORLD);
                seconds[way] = MPI_Wtime();
                writing = 0;
            }
            if (way == FRESH) {
                const double begin = MPI_Wtime();
                for (long i = 0; i < count; i++) out[i] = (double)(repetition + i);
                writing += MPI_Wtime() - begin;
            }
            MPI_Request requests[2];
            MPI_Irecv(in, count, MPI_DOUBLE, other, 0, MPI_COMM_WORLD, &requests[0]);
            /* What is high here is below the other's low side, so the high face goes first. */
            if (by_hand) pack(&b, face(&b, cut, 0), pack(&b, face(&b, cut, n - 1), out));
            MPI_Isend(out, count, MPI_DOUBLE, other, 0, MPI_COMM_WORLD, &requests[1]);
            for (int axis = 0; by_hand && axis < 3; axis++)
                if (axis != cut) {
                    copy(&b, face(&b, axis, n - 1), face(&b, axis, -1));
                    copy(&b, face(&b, axis, 0), face(&b, axis, n));
                }
            MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
            if (by_hand) unpack(&b, face(&b, cut, n), unpack(&b, face(&b, cut, -1), in));
        }
        seconds[way] = (MPI_Wtime() - seconds[way] - writing) / repetitions;
    }
    MPI_Allreduce(MPI_IN_PLACE, seconds, WAYS, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    long wrong = visit(&b, cut, rank, 0);
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0)
        printf("{\"program\": \"halo\", \"cells\": %ld, \"cut\": \"%c\", \"bytes_each_way\": %zu, \"seconds\": %.4g, "
               "\"seconds_fresh\": %.4g, \"seconds_by_hand\": %.4g, \"check\": %ld}\n",
               n, 'x' + cut, count * sizeof(double), seconds[ALONE], seconds[FRESH], seconds[BY_HAND], wrong);
    MPI_Finalize();
    return 0;
}
