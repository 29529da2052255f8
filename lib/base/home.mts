import { homedir } from 'node:os'
import { join } from 'node:path'

/**
 * A folder below ~/.keybuzz, where the scripts keep what is theirs on the bastion: the logs of runs, secrets, ssh's
 * connections, downloaded releases. Whoever writes there makes it first, for the owner alone (0700).
 */
export const home = (folder: 'logs' | 'secrets' | 'ssh' | 'cache'): string => join(homedir(), '.keybuzz', folder)

/** The kubeconfig that the scripts keep a context in, and that the operator's own kubectl reads by default. */
export const kubeconfig = join(homedir(), '.kube', 'config')
