import type { Run } from './hosts.mts'
import type { Host } from './inventory.mts'
import { givenSecret, keepSecret, keptSecret, newSecret, Secret } from './secrets.mts'
import { run as ssh } from './ssh.mts'

/** What servers and agents join with. `server` is also the passphrase of the cluster's bootstrap data. */
export type Tokens = { server: Secret; agent: Secret }

const folder = '/var/lib/rancher/k3s/server'

/**
 * The tokens of the cluster. A server that runs knows them, in the secure form that pins its CA; the bastion keeps them
 * too. They are made once, where neither has them, and in an apply only (a plan makes some up, and forgets them).
 * Throws UsageError where the cluster exists but its token cannot be had: another one would not open it (k3s#3888).
 */
export const clusterTokens = async (run: Run, { from }: { from: Host | undefined }): Promise<Tokens> => {
  const tokens = (from && (await readTokens(from))) ?? (await kept()) ?? (await otherTokens(run, from))
  if (run.mode === 'apply') {
    await keepSecret('k3s-server-token', tokens.server)
    await keepSecret('k3s-agent-token', tokens.agent)
  }
  return tokens
}

/** The tokens as a running server has written them, or nothing. */
export const readTokens = async (server: Host): Promise<Tokens | undefined> => {
  const { stdout, exitCode } = await ssh(server, `cat ${folder}/token ${folder}/agent-token`)
  const [token, agentToken] = stdout.split('\n')
  if (exitCode !== 0 || !token || !agentToken) return undefined
  return { server: secretOf(token), agent: secretOf(agentToken) }
}

// The secret alone must not be shown either.
const secretOf = (token: string): Secret => {
  new Secret(token.split(':').at(-1) ?? token)
  return new Secret(token)
}

const kept = async (): Promise<Tokens | undefined> => {
  const server = await keptSecret('k3s-server-token')
  const agent = await keptSecret('k3s-agent-token')
  return server && agent ? { server: secretOf(server.reveal()), agent: secretOf(agent.reveal()) } : undefined
}

const otherTokens = async ({ flags, mode }: Run, from: Host | undefined): Promise<Tokens> => {
  const file = flags['token-file']
  const given = file !== undefined || process.env['K3S_TOKEN'] !== undefined
  // In a plan of bare nodes the first server is no cluster yet, and nothing is to be asked.
  if (!given && (from === undefined || mode === 'plan')) return { server: newSecret(), agent: newSecret() }
  const server = await givenSecret('server token of the cluster', { flag: '--token-file', file, variable: 'K3S_TOKEN' })
  return { server: secretOf(server.reveal()), agent: newSecret() }
}
