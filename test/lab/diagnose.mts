// What a person would look at first when a test in the lab has failed:  node test/lab/diagnose.mts
import { bastion, exec } from './nodes.mts'
import { nodes } from './containers.mts'

const show = (title: string, { stdout, stderr }: { stdout: string; stderr: string }): void =>
  console.log(`--- ${title}\n${(stdout + stderr).trim()}`)

const kubectl = '/artifacts/k3s kubectl --request-timeout=10s'
show('the cluster', await bastion(['bash', '-c', `${kubectl} get nodes -o wide; ${kubectl} get pods -A -o wide
${kubectl} get events -A --sort-by=.lastTimestamp | grep -v ' Normal ' | tail -n 10 | cut -c 1-200
grep '✗' "$(ls -t ~/.keybuzz/logs/* | head -n 1)" | tail -n 20 | cut -c 1-400`]))
for (const { name } of nodes) {
  show(name, await exec(name, `uptime; free -m | sed -n 2p; df -h /var/lib/rancher | tail -n 1
systemctl --failed --no-legend
journalctl -u 'k3s*' -n 300 -o cat --no-pager | grep -E 'level=(fatal|error)|panic|^E' | tail -n 4 | cut -c 1-200 || true`))
}
