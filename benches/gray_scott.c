/* Gray–Scott by hand: what an expert writes in C for examples/gray_scott.rs in three dimensions. The scheme stands here, all else,
 * and why it is fast, in slab.h.
 *
 *   mpicc -O3 -march=native -fopenmp -o gray_scott_c benches/gray_scott.c -lm
 *   OMP_NUM_THREADS=1 mpirun -n 2 ./gray_scott_c 256 100 --stores streaming --pages huge
 *
 * Cells of side 1/80, a step of 1, a cube of 32 cells of food and feeder in the middle; the same numbers as the example, but
 * for its noise.
 */
#define PROGRAM "gray_scott"
#define FIELDS 2
#define INITIAL gray_scott_initial
#define UPDATE gray_scott_update
#include "slab.h"

static double gray_scott_initial(int f, long x, long y, long z, long n) {
    const double half = (n - 1) / 2.0;
    const int inside = fabs(x - half) < 16 && fabs(y - half) < 16 && fabs(z - half) < 16;
    return f == 0 ? (inside ? 0.5 : 1.0) : (inside ? 0.25 : 0.0);
}

/* u + Δt (Dᵤ ∇²u − u v² + F (1 − u)) and v + Δt (Dᵥ ∇²v + u v² − (F + k) v), with Δt = 1 and D / h² in `du`, `dv`. */
INLINE void gray_scott_update(Rows r, double *next, long x, Place place, Stores stores) {
    const double du = 2e-5 * 6400, dv = 1e-5 * 6400, feed = 0.037, kill = 0.060;
    const Lanes u = load(r.here + x), v = load(r.here + r.field + x), uvv = u * v * v;
    store(next + x, feed + (1 - 6 * du - feed) * u + du * six(r, 0, x, place) - uvv, stores);
    store(next + r.field + x, (1 - 6 * dv - feed - kill) * v + dv * six(r, 1, x, place) + uvv, stores);
}
