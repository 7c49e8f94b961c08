/* Heat conduction by hand: what a careful C programmer writes for the same scheme as examples/heat.rs with forward Euler.
 *
 * A periodic cube of n^3 cells in slabs along z, one a rank; two buffers; the rows along x vectorise; the two halo planes
 * travel while the inner planes are computed. Prints the cell updates per second and the sum of squares at the end.
 *
 *   mpicc -O3 -march=native -o heat_c benches/heat.c -lm && mpirun -n 2 ./heat_c 256 100
 */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

static void plane(const double *restrict u, double *restrict v, long n, long row, long layer, long z, double c) {
    for (long y = 1; y <= n; y++) {
        const double *restrict here = u + z * layer + y * row + 1;
        double *restrict next = v + z * layer + y * row + 1;
        for (long x = 0; x < n; x++)
            next[x] = here[x] + c * ((here[x - 1] - 2 * here[x] + here[x + 1]) + (here[x - row] - 2 * here[x] + here[x + row]) +
                                     (here[x - layer] - 2 * here[x] + here[x + layer]));
    }
}

/* The ghosts along x and y of one plane, from the other end of the ring. */
static void wrap(double *u, long n, long row, long layer, long z) {
    double *p = u + z * layer;
    for (long y = 1; y <= n; y++) {
        p[y * row] = p[y * row + n];
        p[y * row + n + 1] = p[y * row + 1];
    }
    for (long x = 1; x <= n; x++) {
        p[x] = p[n * row + x];
        p[(n + 1) * row + x] = p[row + x];
    }
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int rank, ranks;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    long n = argc > 1 ? atol(argv[1]) : 256, steps = argc > 2 ? atol(argv[2]) : 100;
    long first = n * rank / ranks, depth = n * (rank + 1) / ranks - first, row = n + 2, layer = row * row;
    double *u = calloc((depth + 2) * layer, sizeof *u), *v = calloc((depth + 2) * layer, sizeof *v);
    if (!u || !v) MPI_Abort(MPI_COMM_WORLD, 1);
    const double tau = 2 * acos(-1), h = 1.0 / n;
    for (long z = 1; z <= depth; z++)
        for (long y = 1; y <= n; y++)
            for (long x = 1; x <= n; x++)
                u[z * layer + y * row + x] = sin(tau * (x - 0.5) * h) * sin(tau * (y - 0.5) * h) * sin(tau * (first + z - 0.5) * h);
    int up = (rank + 1) % ranks, down = (rank + ranks - 1) % ranks;
    MPI_Barrier(MPI_COMM_WORLD);
    double start = MPI_Wtime();
    for (long step = 0; step < steps; step++) {
        MPI_Request requests[4];
        wrap(u, n, row, layer, 1);
        wrap(u, n, row, layer, depth);
        MPI_Irecv(u, layer, MPI_DOUBLE, down, 0, MPI_COMM_WORLD, &requests[0]);
        MPI_Irecv(u + (depth + 1) * layer, layer, MPI_DOUBLE, up, 1, MPI_COMM_WORLD, &requests[1]);
        MPI_Isend(u + depth * layer, layer, MPI_DOUBLE, up, 0, MPI_COMM_WORLD, &requests[2]);
        MPI_Isend(u + layer, layer, MPI_DOUBLE, down, 1, MPI_COMM_WORLD, &requests[3]);
        for (long z = 2; z < depth; z++) wrap(u, n, row, layer, z);
        for (long z = 2; z < depth; z++) plane(u, v, n, row, layer, z, 0.1);
        MPI_Waitall(4, requests, MPI_STATUSES_IGNORE);
        plane(u, v, n, row, layer, 1, 0.1);
        if (depth > 1) plane(u, v, n, row, layer, depth, 0.1);
        double *swap = u;
        u = v;
        v = swap;
    }
    MPI_Barrier(MPI_COMM_WORLD);
    double seconds = MPI_Wtime() - start, sum = 0;
    for (long z = 1; z <= depth; z++)
        for (long y = 1; y <= n; y++)
            for (long x = 1; x <= n; x++) sum += u[z * layer + y * row + x] * u[z * layer + y * row + x];
    MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) printf("%.1f million cell updates per second, sum of squares %.15g\n", n * n * n * (double)steps / seconds / 1e6, sum);
    MPI_Finalize();
    return 0;
}
