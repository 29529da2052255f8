import type { Host } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import { login } from '../reach/ssh.mts'
import type { Run } from '../run/run.mts'
import type { NodeStep } from '../run/step.mts'

/** What a node said that is compared with the others'. Times are milliseconds against the bastion's clock. */
export type Said = { machineId: string; ahead: number; error: number }

/** The step that a node tells its time and machine-id. The next two steps compare them. */
export const saysTimeAndId = (host: Host, { ssh }: Pick<Run, 'ssh'>, said: Map<string, Said>): NodeStep => {
  const ask = 'date +%s%3N; cat /etc/machine-id'
  return {
    name: 'tells its time and its machine-id',
    check: async () => {
      const asked = Date.now()
      const [time, machineId = ''] = (await ssh.capture(host, ask)).split('\n')
      const answered = Date.now()
      said.set(host.name, { machineId, ahead: Number(time) - (asked + answered) / 2, error: (answered - asked) / 2 })
      return ''
    },
    look: `ssh ${login(host)} '${ask}'; date +%s%3N`
  }
}

/** The step that no other node has the same machine-id. */
export const hasOwnMachineId = (host: Host, said: Map<string, Said>): NodeStep => ({
  name: 'has a machine-id of its own',
  check: async () => {
    const id = said.get(host.name)?.machineId
    const twins = [...said.keys()].filter((name) => name !== host.name && said.get(name)?.machineId === id)
    return twins.length > 0 ? `${twins.join(', ')} has the same` : ''
  },
  look: '# Compare the second lines above: no two nodes may have the same.',
  hint: 'a cloned image: rm /etc/machine-id && systemd-machine-id-setup, then reboot'
})

/** The step that a node's clock differs from the others' by no more than the settings allow. */
export const hasTimeOfOthers = (host: Host, { prepare: { clock_skew: most } }: Settings, said: Map<string, Said>): NodeStep => ({
  name: 'has the time of the others',
  check: async () => {
    const all = [...said.values()].map(({ ahead }) => ahead).toSorted((a, b) => a - b)
    const { ahead, error } = said.get(host.name) ?? { ahead: 0, error: 0 }
    const off = ahead - (all[Math.floor(all.length / 2)] ?? 0)
    const tooFar = Math.abs(off) - error > most * 1000
    return tooFar ? `is ${(Math.abs(off) / 1000).toFixed(1)} s ${off > 0 ? 'ahead' : 'behind'}` : ''
  },
  look: `# Compare the first lines above, each less the bastion's time below it: milliseconds, at most ${most * 1000} apart.`,
  hint: 'timedatectl status'
})
