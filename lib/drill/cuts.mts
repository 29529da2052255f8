import pMap from 'p-map'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from '../input/inventory.mts'
import { capture } from '../reach/ssh.mts'

/** How a host is taken away, and how it is given back. */
export type Cut = {
  host: Host
  /** What is done, in words for the report. */
  how: string
  make: (signal: AbortSignal) => Promise<void>
  /** Gives the host back. It may be called again, also where `make` did not get far. */
  undo: (signal: AbortSignal) => Promise<void>
  /** The commands that do it by hand. */
  byHand: string[]
  /** False where the host cannot come back by itself if this computer dies. */
  itself: boolean
}

/** Switches a machine off, as if its power failed, and on again. Each ends once that is done. */
export type Power = { off: (host: Host) => Promise<void>; on: (host: Host) => Promise<void> }

/** Seconds after which a node takes a cut back by itself. */
export const DEADLINE = 180

const folder = '/run/keybuzz-drill'
const dropIn = '/run/systemd/system/k3s.service.d/keybuzz-drill.conf'
const timer = 'keybuzz-drill-restore'

// Takes back whatever a cut has made of the node, and nothing else; runs as often as one likes. It fails as long as a
// rule of ours is left. In the table mangle nobody else puts rules first again and again, as kube-proxy, flannel and
// the network policies do in filter; and everything passes there, whether it is for the node or through it.
const restoreScript = `set -u
while read -r hook chain; do
  while iptables -w 10 -t mangle -C "$hook" -j "$chain" 2>/dev/null; do
    iptables -w 10 -t mangle -D "$hook" -j "$chain" || exit 1
  done
  iptables -w 10 -t mangle -F "$chain" 2>/dev/null
  iptables -w 10 -t mangle -X "$chain" 2>/dev/null
done <<'END'
PREROUTING KEYBUZZ-DRILL-IN
POSTROUTING KEYBUZZ-DRILL-OUT
END
if [ -e ${folder}/down ]; then
  rm -f ${dropIn}
  systemctl daemon-reload
  systemctl reset-failed k3s 2>/dev/null
  systemctl start --no-block k3s || exit 1
  rm -f ${folder}/down
fi
rules=$(iptables -w 10 -t mangle -S) || exit 1
if grep KEYBUZZ-DRILL >&2 <<<"$rules"; then
  echo 'these rules of the drill are left' >&2
  exit 1
fi`

/** Gives a node back at once, whoever has cut it off: this drill, or one that was killed. Says so where there was one. */
export const undoScript = `if [[ ! -e ${folder}/restore ]]; then exit; fi
bash ${folder}/restore
systemctl stop ${timer}.timer ${timer}.service 2>/dev/null || true
rm -rf ${folder}
echo restored`

/** Runs a cut on a node that will take it back by itself: the timer is there before the cut is. */
export const cutScript = (cut: string, seconds = DEADLINE): string => `
(${undoScript}
) >&2
install -d -m 0700 ${folder}
cat > ${folder}/restore <<'RESTORE'
${restoreScript}
RESTORE
systemd-run --quiet --collect --unit=${timer} --on-active=${seconds} --timer-property=AccuracySec=1s \\
  --property=Restart=on-failure --property=RestartSec=5 bash ${folder}/restore
systemctl is-active --quiet ${timer}.timer
${cut}`

/** K3s is killed, and not started again until it is given back. */
export const killed = `touch ${folder}/down
install -d "$(dirname ${dropIn})"
printf '[Service]\\nRestart=no\\n' > ${dropIn}
systemctl daemon-reload
systemctl kill --kill-whom=main -s KILL k3s
for try in {1..50}; do
  [[ $(systemctl is-active k3s) =~ ^(failed|inactive)$ ]] && exit
  sleep 0.1
done
echo 'k3s is still running' >&2
exit 1`

/** Every process of a pod is killed at once, again where the kubelet starts one anew before it knows better. */
export const killPod = (uid: string): string => `killed='' end=$((SECONDS + 4))
while ((SECONDS < end)); do
  for file in $(grep -lsE 'pod${uid.replaceAll('-', '[-_]')}' /proc/[0-9]*/cgroup); do
    process=\${file#/proc/}
    if kill -KILL "\${process%/cgroup}" 2>/dev/null; then killed=yes; fi
  done
  sleep 0.2
done
[[ -n $killed ]] || { echo 'no process of the pod was found' >&2; exit 1; }`

// First of all the bastion's way in stays open. sudo has taken it out of the environment.
const chains = (rules: string): string => `connection=\${SSH_CONNECTION:-} process=$$
while [[ -z $connection && $process -gt 1 ]]; do
  process=$(ps -o ppid= -p "$process" | tr -d ' ')
  connection=$({ tr '\\0' '\\n' < "/proc/$process/environ" | sed -n 's/^SSH_CONNECTION=//p'; } 2>/dev/null || true)
done
read -r from _ _ port <<<"$connection"
[[ -n $port ]] || { echo 'the node does not say where the ssh connection comes from (SSH_CONNECTION)' >&2; exit 1; }
rule() { iptables -w 10 -t mangle "$@"; }
incoming() { rule -A KEYBUZZ-DRILL-IN "$@"; }
outgoing() { rule -A KEYBUZZ-DRILL-OUT "$@"; }
rule -N KEYBUZZ-DRILL-IN
rule -N KEYBUZZ-DRILL-OUT
incoming -p tcp -s "$from" --dport "$port" -j RETURN
outgoing -p tcp -d "$from" --sport "$port" -j RETURN
${rules}
rule -I PREROUTING -j KEYBUZZ-DRILL-IN
rule -I POSTROUTING -j KEYBUZZ-DRILL-OUT`

/**
 * Nothing comes in or goes out any more, on any card, and nobody is told. What stays on the node goes on: a kubelet that
 * cannot reach its own pods would restart them.
 */
export const cutOff = chains(`for inside in lo cni0; do
  incoming -i $inside -j RETURN
  outgoing -o $inside -j RETURN
done
incoming -j DROP
outgoing -j DROP`)

/** Nothing comes from those addresses or goes there any more. */
export const partition = (addresses: string[]): string => chains(`for other in ${addresses.join(' ')}; do
  incoming -s "$other" -j DROP
  outgoing -d "$other" -j DROP
done`)

/** A cut that a script makes on the host. */
export const scripted = (host: Host, { how, script }: { how: string; script: string }): Cut => ({
  host,
  how,
  make: async (signal) => void (await capture(host, cutScript(script), { signal })),
  undo: async (signal) => void (await capture(host, undoScript, { signal, timeout: 45 })),
  byHand: [`ssh ${host.user}@${host.address} ${host.user === 'root' ? '' : 'sudo '}bash ${folder}/restore`],
  itself: true
})

/** The host loses its power; where that cannot be done, all its connections. */
export const dead = (host: Host, power: Power | undefined): Cut => {
  if (!power) return scripted(host, { how: 'no power control: cut off from everything but the bastion instead', script: cutOff })
  let on = false
  return {
    host,
    how: 'its power is switched off',
    make: () => power.off(host),
    undo: async (signal) => {
      if (!on) await power.on(host)
      on = true
      await capture(host, 'true', { signal, fresh: true })
    },
    byHand: [`switch ${host.name} on, at the hosting provider's console`],
    itself: false
  }
}

/** Takes back what a drill has left that was killed. Returns the names of the hosts on which there was something. */
export const clean = async (hosts: Host[], signal: AbortSignal): Promise<string[]> => {
  const said = await pMap(hosts, async (host) => ((await capture(host, undoScript, { signal, timeout: 45 })) === '' ? '' : host.name))
  return said.filter(Boolean)
}

/** What etcd on a server says of itself. */
export type Member = { leader: boolean; learner: boolean; healthy: boolean }

const memberScript = `ask() {
  exec 3<>/dev/tcp/127.0.0.1/2381
  printf 'GET %s HTTP/1.0\\r\\n\\r\\n' "$1" >&3
  timeout 10 cat <&3
  exec 3>&-
}
ask /metrics | grep -E '^etcd_server_is_(leader|learner) '`

const healthScript = `${memberScript}
ask /health | grep -o '"health":"[a-z]*"'`

const memberOf = async (host: Host, script: string, signal: AbortSignal): Promise<Member | undefined> => {
  try {
    const said = await capture(host, script, { signal, timeout: 15 })
    const has = (text: string): boolean => said.split('\n').includes(text)
    return { leader: has('etcd_server_is_leader 1'), learner: has('etcd_server_is_learner 1'), healthy: has('"health":"true"') }
  } catch (error) {
    signal.throwIfAborted()
    return undefined
  }
}

/** In words what is wrong with etcd on the servers, and which of them leads. */
export const etcd = async (servers: Host[], signal: AbortSignal): Promise<{ faults: string[]; leader: Host | undefined }> => {
  const members = await pMap(servers, (host) => memberOf(host, healthScript, signal))
  const leaders = servers.filter((_, index) => members[index]?.leader)
  const faults = servers.flatMap(({ name }, index) => {
    const member = members[index]
    if (!member?.healthy) return [`etcd on ${name} ${member ? 'is not healthy' : 'does not answer'}`]
    return member.learner ? [`etcd on ${name} is no voter yet`] : []
  })
  if (leaders.length !== 1) faults.push(`etcd has ${leaders.length} leaders`)
  return { faults, leader: leaders.length === 1 ? leaders[0] : undefined }
}

/** Waits until one of the servers leads etcd; nothing where none does in so many seconds. */
export const leaderOf = async (servers: Host[], seconds: number, signal: AbortSignal): Promise<Host | undefined> => {
  const end = performance.now() + seconds * 1000
  for (;;) {
    const members = await pMap(servers, (host) => memberOf(host, memberScript, signal))
    const leader = servers.find((_, index) => members[index]?.leader)
    if (leader || performance.now() > end) return leader
    await sleep(250, undefined, { signal })
  }
}
