#!/bin/bash
# One run in one job: it survives dead ranks and dead nodes, and the end of its time.
# Adapt the lines below, then: sbatch single.sh
#
#SBATCH --job-name=heat
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=16
#SBATCH --time=04:00:00
# A dead node or the end of the time puts the job into the queue again; each life goes on in the same log.
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=heat-%j.log

# All nodes must see the run directory: put it on the shared file system.
run=$SLURM_SUBMIT_DIR/heat.run

# As many ranks as tasks. exec: what Slurm signals is then the supervisor itself, not a shell that waits for it.
exec steadfast launch --requeue --dir "$run" -- ./heat run heat.toml
