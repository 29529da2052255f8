import { type Cidr, parseCidr } from '../../base/ipv4.mts'
import type { Settings } from '../schema.mts'
import { type Path, valueAt } from '../yaml.mts'

/** What is wrong at a path, or with its key: `expected` completes "expected ...", and the remedy is a sentence. */
export type Problem = { path: Path; expected: string; remedy?: string | undefined; key?: boolean }

/** A rule between several settings. `path` is the one at fault. The rule is skipped where one of `uses` is faulty. */
export type Conflict = Problem & { uses: Path[] }

export const PRIVATE: Path = ['network', 'private_cidr']
export const CLUSTER: Path = ['network', 'cluster_cidr']
export const SERVICE: Path = ['network', 'service_cidr']

/** The network at a path. */
export const networkOf = (settings: Settings, path: Path): Cidr =>
  parseCidr(String(valueAt(settings, path))) ?? { base: 0, prefix: 0 }
