import { randomUUID } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname, userInfo } from 'node:os'
import type { Host } from '../input/inventory.mts'
import { login, Unreachable, type Ssh } from '../reach/ssh.mts'
import { withRoles, type Means, type Run } from './run.mts'

/** Somebody else is at work on the cluster. */
export class Locked extends Error {
  override name = 'Locked'
}

const folder = '/run/keybuzz-k3s.lock'

// Who holds the lock is text from elsewhere: it is printed, and stands in shell.
const plain = (text: string): string => text.replace(/[^\w.@+:/ -]/g, '?').slice(0, 100)

const user = (): string => {
  try {
    return userInfo().username
  } catch {
    return `uid-${process.getuid?.()}` // without an entry in passwd, as in a container
  }
}
const me = plain(`${user()}@${hostname()}`)

const read = (file: string): string => {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return ''
  }
}

// Where a number of a process means this process: the machine, its boot, and the pid namespace (of a container, or a job of
// CI). '' where that cannot be known. A container may have no machine-id, and the other two tell it from others.
const here = ((): string => {
  try {
    const boot = read('/proc/sys/kernel/random/boot_id')
    return boot && plain(`${read('/etc/machine-id') || 'none'} ${boot} ${readlinkSync('/proc/self/ns/pid').replace(/\D/g, '')}`)
  } catch {
    return ''
  }
})()

/**
 * Takes the lock on the first server that answers, so that only one run at a time changes the cluster. mkdir makes it
 * atomic, and because it is in /run a reboot removes it. The lock of a dead run on this bastion is taken over; of one in
 * another machine or container nobody here knows whether it lives.
 * Returns a function that releases it. Throws Locked: who holds it, since when, and for which script; or why it cannot be
 * taken.
 */
export const takeLock = async (
  { hosts, ssh }: Pick<Means, 'hosts' | 'ssh'>,
  { script, force }: { script: string; force: boolean }
): Promise<() => Promise<void>> => {
  const id = randomUUID()
  const { servers } = withRoles(hosts)
  for (const server of servers) {
    try {
      const holder = await take(ssh, server, takeScript({ script, force, id }))
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
 * Holds the lock while `use` runs, and gives it back however that ends. Throws Locked where somebody is at work. `script` is
 * what a run that is refused meanwhile is told. `force` takes the lock from another run.
 */
export const withLock = async <Value,>(
  run: Pick<Run, 'hosts' | 'ssh' | 'note'>,
  { script, force = false }: { script: string; force?: boolean },
  use: () => Promise<Value>
): Promise<Value> => {
  const release = await takeLock(run, { script, force })
  try {
    return await use()
  } finally {
    await release().catch(() => run.note('The lock could not be given back; the next run on this bastion takes it over.'))
  }
}

const take = async (ssh: Ssh, server: Host, shell: string): Promise<string> => {
  const { stdout, stderr, exitCode } = await ssh.run(server, shell)
  if (exitCode === 0) return stdout
  throw new Locked(
    `the lock cannot be taken on ${server.name}, and nothing was changed: ${plain(stderr.trim().split('\n').at(-1) ?? '')}\n` +
      `Hint: ssh ${login(server)} df -h /run`
  )
}

// A folder without a holder would keep everybody out for ever, so it goes again where the holder cannot be written.
// A folder that was there and is gone was given back in between: the next try has it.
const takeScript = ({ script, force, id }: { script: string; force: boolean; id: string }): string => `
${force ? `rm -rf ${folder}` : ''}
for try in 1 2 3; do
  if why=$(mkdir ${folder} 2>&1); then
    if printf '%s\\n' '${me}' '${processOf(process.pid)}' "$(date -u +%FT%TZ)" '${plain(script)}' '${id}' '${here}' > ${folder}/holder; then exit 0; fi
    rm -rf ${folder}
    exit 1
  elif [[ -e ${folder} ]]; then
    { grep -q . ${folder}/holder && cat ${folder}/holder; } 2>/dev/null || echo 'somebody'
    exit 0
  fi
done
echo "$why" >&2
exit 1`

const settle = async (ssh: Ssh, server: Host, holder: string, mine: { script: string; id: string }): Promise<() => Promise<void>> => {
  const [who = '', holding = '', since = '', script, id = '', place = ''] = holder.split('\n').map(plain)
  const isMine = who === me && here !== '' && place === here
  if (isMine && /^[\w-]+$/.test(id) && /^\d+ \d+$/.test(holding) && processOf(parseInt(holding)) !== holding) {
    // Compared again on the node, by one run at a time: two runs that find the same dead run must not both take its lock.
    const now = await take(ssh, server, `
exec 9</run; flock 9
if [[ $(sed -n 5p ${folder}/holder 2>/dev/null) == '${id}' ]]; then
  rm -rf ${folder}
  ${takeScript({ ...mine, force: false })}
else
  echo 'another run took over'
fi`)
    if (now === '') return () => release(ssh, server, mine.id)
  }
  const where = who === me && place !== '' && !isMine ? ' on another machine or in another container of that name' : ''
  const what = script === undefined ? 'nothing more is known' : `${script} since ${since} (process ${holding.split(' ')[0]}${where})`
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
  const stat = read(`/proc/${pid}/stat`)
  return stat && `${pid} ${stat.slice(stat.lastIndexOf(') ') + 2).split(' ')[19]}`
}
