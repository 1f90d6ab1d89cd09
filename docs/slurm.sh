#!/usr/bin/env bash
# A large run as a Slurm array: each task carries out its part of the cases, on the folder that all of them share.
#
#   sbatch --export=ALL,SEED=7 docs/slurm.sh
#   patchify-verify merge runs/7/*    # once all tasks have ended
#
# A task that was preempted and queued again goes on where it was.
#SBATCH --job-name=patchify
#SBATCH --array=1-8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=%x-%A-%a.log
set -euo pipefail

part="runs/$SEED/$SLURM_ARRAY_TASK_ID"
if [ -e "$part/plan.json" ]; then
  patchify-verify run --resume "$part" --jobs "$SLURM_CPUS_PER_TASK"
else
  patchify-verify run --implementation "${IMPLEMENTATION:-patchify:Patchify}" --profile nightly --seed "$SEED" \
    --jobs "$SLURM_CPUS_PER_TASK" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --run-dir "$part"
fi
