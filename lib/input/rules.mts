import { appConflicts } from './rules/apps.mts'
import { clusterConflicts } from './rules/cluster.mts'
import type { Conflict } from './rules/conflict.mts'
import { monitoringConflicts } from './rules/monitoring.mts'
import type { Settings } from './schema.mts'

/** Settings that are each valid, but do not fit together. */
export const conflicts = (settings: Settings): Conflict[] => [
  ...clusterConflicts(settings), ...appConflicts(settings), ...monitoringConflicts(settings)
]
