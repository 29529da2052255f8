import { join } from 'node:path'
import { isAbort, UsageError } from '../base/errors.mts'
import { home } from '../base/home.mts'
import type { Run } from '../run/run.mts'
import type { Host } from '../input/inventory.mts'
import { givenSecret, keepSecret, keptSecret, newSecret, Secret } from '../input/secrets.mts'
import type { Settings } from '../input/settings.mts'
import type { Ssh } from '../reach/ssh.mts'

/** What servers and agents join with. `server` is also the passphrase of the cluster's bootstrap data. */
export type Tokens = { server: Secret; agent: Secret }

const folder = '/var/lib/rancher/k3s/server'

// They stand in shell scripts, and K3s splits them at colons.
const form = /^(K10[0-9a-f]{64}::[\w-]+:)?[\w.+/=-]+$/

/**
 * The tokens of the cluster. A server that runs has them, in the secure form that pins its CA. Else they come from the
 * operator or from the bastion's files. If nobody has them an apply makes them, once (a plan uses random ones and forgets
 * them). Throws UsageError where a given token is not the cluster's. Also where the cluster exists but its token cannot be
 * found: K3s cannot decrypt its data with another one (k3s#3888). And where the bastion's files are those of another cluster
 * with the same environment.
 */
export const clusterTokens = async (run: Run, { from, file }: { from: Host | undefined; file: string | undefined }): Promise<Tokens> => {
  if (run.mode === 'runbook') return namedTokens(run)
  const known = from && (await readTokens(run.ssh, from))
  const given = await givenToken(run, file, from !== undefined && known === undefined)
  if (given && known && secretPart(given) !== secretPart(known.server)) {
    throw new UsageError([{
      file: 'command line', what: 'the given token', expected: `the one that ${from?.name} has`,
      remedy: 'Leave --token-file and K3S_TOKEN out: a cluster that runs is asked for its token.'
    }])
  }
  if (from && known && run.mode !== 'validate') await refuseAnother(run.settings, known.server, from)
  const kept = await keptTokens(run.settings)
  const tokens = known ?? { server: given ?? kept?.server ?? newSecret(), agent: kept?.agent ?? newSecret() }
  if (run.mode === 'apply') {
    await keep(run, 'server', tokens.server)
    await keep(run, 'agent', tokens.agent)
  }
  return tokens
}

/** The tokens as the first server that has them wrote them, or nothing. */
export const runningTokens = async (ssh: Ssh, servers: Host[]): Promise<Tokens | undefined> => {
  for (const server of servers) {
    try {
      const tokens = await readTokens(ssh, server)
      if (tokens) return tokens
    } catch (error) {
      if (isAbort(error)) throw error // a server that is down is skipped
    }
  }
  return undefined
}

const readTokens = async (ssh: Ssh, server: Host): Promise<Tokens | undefined> => {
  const { stdout, exitCode } = await ssh.run(server, `cat ${folder}/token ${folder}/agent-token`)
  const [token, agentToken] = stdout.split('\n')
  if (exitCode !== 0 || !token || !agentToken) return undefined
  return { server: tokenOf(token), agent: tokenOf(agentToken) }
}

// Each cluster has its own: without its server token a snapshot cannot be restored.
const fileOf = ({ environment }: Settings, which: keyof Tokens): string => `${environment}-k3s-${which}-token`

// K10, the SHA-256 of the cluster's CA, ::, user and password (docs.k3s.io/cli/token). A cluster whose token was rotated keeps its CA.
const caOf = (token: Secret): string => /^K10([0-9a-f]{64})::/.exec(token.reveal())?.[1] ?? ''

// Two clusters with one environment would take each other's tokens and context.
const refuseAnother = async (settings: Settings, running: Secret, from: Host): Promise<void> => {
  const kept = await keptSecret(fileOf(settings, 'server'))
  if (kept === undefined || secretPart(kept) === secretPart(running)) return
  if (caOf(kept) !== '' && caOf(kept) === caOf(running)) return
  const nameOf = (token: Secret): string => (caOf(token) === '' ? 'CA unknown' : `CA ${caOf(token).slice(0, 8)}`)
  throw new UsageError([{
    file: join(home('secrets'), fileOf(settings, 'server')), what: `token (${nameOf(kept)})`,
    expected: `the one of the cluster that ${from.name} is in (${nameOf(running)})`,
    remedy: `It is of another cluster. Give this one another environment in the settings (${settings.environment} now). If the other one is gone for good, `
      + 'rename the file: its snapshots cannot be restored without it.'
  }])
}

// A former secret is needed for every snapshot that was made with it, so it stays beside the new one.
const keep = async ({ settings, note }: Run, which: keyof Tokens, token: Secret): Promise<void> => {
  const name = fileOf(settings, which)
  const former = await keptSecret(name)
  if (former && secretPart(former) !== secretPart(token)) {
    const until = `${name}-until-${new Date().toISOString().replace(/[-:]|\.\d+/g, '')}`
    await keepSecret(until, former)
    note(`The former ${which} token stays in ~/.keybuzz/secrets/${until}: snapshots that were made with it need it.`)
  }
  await keepSecret(name, token)
}

/** The tokens as placeholders for a runbook. It says where to find them. */
export const namedTokens = ({ settings, note }: Run): Tokens => {
  note(`\`<SERVER_TOKEN>\` and \`<AGENT_TOKEN>\` stand for the cluster's tokens: the files \`${fileOf(settings, 'server')}\` and
\`${fileOf(settings, 'agent')}\` in ~/.keybuzz/secrets of the bastion, or \`token\` and \`agent-token\` in
${folder} of a server that runs. For a new cluster make each once with
\`openssl rand -hex 32\`, and keep them: without the server's a snapshot cannot be restored.`)
  return { server: Secret.named('<SERVER_TOKEN>'), agent: Secret.named('<AGENT_TOKEN>') }
}

const keptTokens = async (settings: Settings): Promise<Tokens | undefined> => {
  const server = await keptSecret(fileOf(settings, 'server'))
  const agent = await keptSecret(fileOf(settings, 'agent'))
  return server && agent ? { server: tokenOf(server.reveal()), agent: tokenOf(agent.reveal()) } : undefined
}

// A plan of bare nodes asks for no token: there is no cluster yet.
const givenToken = async ({ mode, settings }: Run, file: string | undefined, lost: boolean): Promise<Secret | undefined> => {
  const given = file !== undefined || Boolean(process.env['K3S_TOKEN']?.trim())
  const wanted = lost && mode === 'apply' && (await keptTokens(settings)) === undefined
  if (!given && !wanted) return undefined
  const token = await givenSecret('server token of the cluster', { flag: '--token-file', file, variable: 'K3S_TOKEN' })
  return tokenOf(token.reveal())
}

const tokenOf = (token: string): Secret => {
  if (!form.test(token)) {
    throw new UsageError([{
      file: 'the token', what: 'of the cluster', expected: 'letters, digits and . + / = _ - only, perhaps after K10...::server:',
      remedy: 'Copy it from /var/lib/rancher/k3s/server/token of a server.'
    }])
  }
  const secret = new Secret(token)
  new Secret(secretPart(secret)) // the part alone must not be shown either
  return secret
}

const secretPart = (token: Secret): string => token.reveal().split(':').at(-1) ?? ''
