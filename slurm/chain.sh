#!/bin/bash
# A chain of jobs, for sites where jobs are never put into the queue again: each submits the next, which begins when it is
# over, however it ended, and goes on from the newest good checkpoint. The chain ends when the run is finished or has failed.
# Adapt the lines below, then: sbatch chain.sh
#
# Save and end the chain: steadfast stop heat.run      At once: scancel --name=heat-chain
#
#SBATCH --job-name=heat-chain
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=16
#SBATCH --time=04:00:00
#SBATCH --no-requeue
#SBATCH --output=heat-%j.log

run=$SLURM_SUBMIT_DIR/heat.run
script=$SLURM_SUBMIT_DIR/chain.sh
# However sick the machine is, the chain has an end.
most_links=50

link=${LINK:-1}
[ -e "$run/finished.json" ] && exit 0

# The next link is submitted first, so that it is there even if this node dies. singleton: two of one name never run at once.
next=
if [ "$link" -lt "$most_links" ]; then
    next=$(LINK=$((link + 1)) sbatch --parsable --dependency="afterany:$SLURM_JOB_ID,singleton" "$script") || exit 1
fi

# Without --requeue the supervisor ends with code 75 when it has saved before the end of its time.
steadfast launch --dir "$run" -- ./heat run heat.toml
code=$?

# Any other code is final: finished (0), failed (1), a bad case (2). So is a stop that somebody has asked for.
if [ "$code" != 75 ] || [ -e "$run/stop-request" ]; then
    [ -z "$next" ] || scancel "${next%%;*}"
fi
exit "$code"
