#!/usr/bin/env bash
# A large run as a Slurm array: each task carries out its part of the cases, on the folder that all of them share.
#
#   sbatch --export=ALL,SEED=7 docs/slurm.sh
#   patchify-verify merge runs/7/*    # once all tasks have ended
#
# A task that was preempted goes on where it was; so does one that stops itself, in time before its limit.
#SBATCH --job-name=patchify
#SBATCH --array=1-8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=%x-%A-%a.log
set -euo pipefail

budget=${BUDGET:-210m}
status=0
part="runs/$SEED/$SLURM_ARRAY_TASK_ID"
if [ -e "$part/plan.json" ]; then
  patchify-verify run --resume "$part" --jobs "$SLURM_CPUS_PER_TASK" --budget "$budget" || status=$?
else
  patchify-verify run --implementation "${IMPLEMENTATION:-patchify:Patchify}" --profile nightly --seed "$SEED" \
    --jobs "$SLURM_CPUS_PER_TASK" --budget "$budget" \
    --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --run-dir "$part" || status=$?
fi
if grep -q '"stopped": "budget"' "$part/end.json"; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$status"
