#!/bin/bash
# A run in pieces of variable length: the job fits into whatever gap the queue has, from two hours to a day, saves before its
# time is over, and goes back into the queue until the run is finished.
# Adapt the lines below, then: sbatch variable-time.sh
#
#SBATCH --job-name=heat
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=16
#SBATCH --time=24:00:00
#SBATCH --time-min=02:00:00
# A warning five minutes before the end. The supervisor knows its time by itself and saves as late as is safe; the warning
# serves where a site ends jobs early, and for hand: scancel --batch --signal=USR1 JOBID
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=heat-%j.log

run=$SLURM_SUBMIT_DIR/heat.run

# A job that gets nowhere, life after life, or whose case is bad, stops and says why.
exec steadfast launch --requeue --dir "$run" -- ./heat run heat.toml
