#!/bin/bash
# A parameter sweep as a job array: one run, one run directory and one job of its own for each value, four at a time. Each
# survives failures by itself. (Many small runs are better off in one job: see examples/sweep.rs.)
# Adapt the lines below, then: sbatch sweep.sh
#
#SBATCH --job-name=sweep
#SBATCH --array=0-4%4
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=16
#SBATCH --time=02:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=sweep-%A_%a.log

values=(0.05 0.1 0.2 0.4 0.8)
value=${values[$SLURM_ARRAY_TASK_ID]}
run=$SLURM_SUBMIT_DIR/sweep.run/$value

# See all of them: for run in sweep.run/*; do steadfast status "$run"; done
exec steadfast launch --requeue --dir "$run" -- ./heat run heat.toml --set model.diffusivity="$value"
