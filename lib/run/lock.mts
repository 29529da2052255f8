import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname, userInfo } from 'node:os'
import type { Host } from '../input/inventory.mts'
import { Unreachable, type Ssh } from '../reach/ssh.mts'
import { withRoles, type Means, type Run } from './run.mts'

/** Somebody else is at work on the cluster. */
export class Locked extends Error {
  override name = 'Locked'
}

const folder = '/run/keybuzz-k3s.lock'
const me = `${userInfo().username}@${hostname()}`

/**
 * Takes the lock on the first server that answers, so that only one run at a time changes the cluster. mkdir makes it
 * atomic, and because it is in /run a reboot removes it. The lock of a dead run on this bastion is taken over.
 * Returns a function that releases it. Throws Locked: who holds it, since when, and for which script.
 */
export const takeLock = async (
  { hosts, ssh }: Pick<Means, 'hosts' | 'ssh'>,
  { script, force }: { script: string; force: boolean }
): Promise<() => Promise<void>> => {
  const id = randomUUID()
  const { servers } = withRoles(hosts)
  for (const server of servers) {
    try {
      const holder = await ssh.capture(server, takeScript({ script, force, id }))
      if (holder !== '') return await settle(ssh, server, holder, { script, id })
      return () => release(ssh, server, id)
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error
    }
  }
  throw new Locked(
    'no server answers, so the lock cannot be taken and nothing was changed\n' +
      `Hint: ssh -v ${servers[0]?.user}@${servers[0]?.address}`
  )
}

/**
 * Holds the lock while `use` runs, for a script that only validates otherwise. It is given back however that ends. Throws
 * Locked where somebody is at work. `script` is what a run that is refused meanwhile is told.
 */
export const withLock = async <Value,>(
  run: Pick<Run, 'hosts' | 'ssh' | 'note'>,
  script: string,
  use: () => Promise<Value>
): Promise<Value> => {
  const release = await takeLock(run, { script, force: false })
  try {
    return await use()
  } finally {
    await release().catch(() => run.note('The lock could not be given back; the next run on this bastion takes it over.'))
  }
}

const takeScript = ({ script, force, id }: { script: string; force: boolean; id: string }): string => `
${force ? `rm -rf ${folder}` : ''}
if mkdir ${folder} 2>/dev/null; then
  printf '%s\\n' '${me}' '${processOf(process.pid)}' "$(date -u +%FT%TZ)" '${script}' '${id}' > ${folder}/holder
else
  { grep -q . ${folder}/holder && cat ${folder}/holder; } 2>/dev/null || echo 'somebody'
fi`

const settle = async (ssh: Ssh, server: Host, holder: string, mine: { script: string; id: string }): Promise<() => Promise<void>> => {
  const [who, holding = '', since, script, id] = holder.split('\n')
  if (who === me && processOf(parseInt(holding)) !== holding) {
    // Compared again on the node, by one run at a time: two runs that find the same dead run must not both take its lock.
    const now = await ssh.capture(server, `
exec 9</run; flock 9
if [[ $(sed -n 5p ${folder}/holder 2>/dev/null) == '${id}' ]]; then
  rm -rf ${folder}
  ${takeScript({ ...mine, force: false })}
else
  echo 'another run took over'
fi`)
    if (now === '') return () => release(ssh, server, mine.id)
  }
  const what = script === undefined ? 'nothing more is known' : `${script} since ${since} (process ${holding.split(' ')[0]})`
  throw new Locked(
    `${who} is at work on the cluster: ${what}\n` +
      'Hint: wait for it to end. If that run is dead, run again with --force-unlock.'
  )
}

const release = async (ssh: Ssh, server: Host, id: string): Promise<void> => {
  await ssh.capture(server, `if [[ $(sed -n 5p ${folder}/holder 2>/dev/null) == '${id}' ]]; then rm -rf ${folder}; fi`, {
    signal: new AbortController().signal // also after ctrl-C
  })
}

// Another process may have the number of a dead one. Together with the start time it is unique.
const processOf = (pid: number): string => {
  try {
    return `${pid} ${readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[19]}`
  } catch {
    return ''
  }
}
