import { join } from 'node:path'
import { homeFolder } from './environment.mts'

/**
 * A folder below ~/.keybuzz, where the scripts keep their files on the bastion: logs of runs, secrets, ssh connections,
 * downloaded releases. Code that writes there creates it first, for the owner only (0700).
 */
export const home = (folder: 'logs' | 'secrets' | 'ssh' | 'cache'): string => join(homeFolder(), '.keybuzz', folder)

/** The kubeconfig that the scripts keep a context in, and that the operator's own kubectl reads by default. */
export const kubeconfig = join(homeFolder(), '.kube', 'config')
