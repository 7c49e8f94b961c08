#!/bin/bash
# Spare nodes in the allocation: when a node dies, the run goes on at once on the others, without a new place in the queue.
# Adapt the lines below, then: sbatch spares.sh
#
#SBATCH --job-name=heat
# Four nodes compute, the fifth waits.
#SBATCH --nodes=5
#SBATCH --ntasks-per-node=16
#SBATCH --time=04:00:00
# The death of a node ends what ran there, and not the job.
#SBATCH --no-kill
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=heat-%j.log

run=$SLURM_SUBMIT_DIR/heat.run

# -n: 4 × 16 ranks, though there is room for 80. --no-kill here tells the supervisor that the job outlives its nodes: it posts
# a sentry on a second node, which puts the job into the queue again if this one, where the supervisor runs, dies.
# When the spares are used up, recovery.fewest_ranks lets the run go on with fewer ranks; without it the job is requeued.
exec steadfast launch -n 64 --requeue --no-kill --dir "$run" -- \
    ./heat run heat.toml --set recovery.fewest_ranks=32
