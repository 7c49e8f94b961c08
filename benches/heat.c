/* Heat conduction by hand: what an expert writes in C for examples/heat.rs with forward Euler. The scheme stands here, all else,
 * and why it is fast, in slab.h.
 *
 *   mpicc -O3 -march=native -fopenmp -o heat_c benches/heat.c -lm
 *   OMP_NUM_THREADS=1 mpirun -n 2 ./heat_c 256 100 --stores streaming --pages huge
 *
 * The start is the product of three sines, which one step multiplies by 1 − 2 c · 3 (1 − cos 2π/n): the sum of squares that it
 * prints as "check" can be reckoned on paper.
 */
#define PROGRAM "heat"
#define FIELDS 1
#define INITIAL heat_initial
#define UPDATE heat_update
#include "slab.h"

static double heat_initial(int f, long x, long y, long z, long n) {
    const double turn = 2 * acos(-1) / n;
    (void)f;
    return sin(turn * (x + 0.5)) * sin(turn * (y + 0.5)) * sin(turn * (z + 0.5));
}

/* u + c (the sum of the six neighbours − 6 u), with c = κ Δt / h² = 0.1. */
INLINE void heat_update(Rows r, double *next, long x, Place place, Stores stores) {
    const double c = 0.1;
    store(next + x, (1 - 6 * c) * load(r.here + x) + c * six(r, 0, x, place), stores);
}
