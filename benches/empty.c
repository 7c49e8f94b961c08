/* Nothing: what it takes to start MPI and to end it.
 *
 *   mpicc -O3 -o empty benches/empty.c && time mpirun -n 4 ./empty
 *   mpirun -n 4 ./empty die        rank 1 kills itself: how long it takes mpirun to notice, and to end
 */
#include <mpi.h>
#include <signal.h>
#include <string.h>

int main(int argc, char **argv) {
    int rank;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (argc > 1 && !strcmp(argv[1], "die")) {
        MPI_Barrier(MPI_COMM_WORLD);
        if (rank == 1) raise(SIGKILL);
        /* The others wait for it, as those of a simulation would. */
        MPI_Barrier(MPI_COMM_WORLD);
    }
    MPI_Finalize();
    return 0;
}
