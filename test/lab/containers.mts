/** A machine of the lab: one container on the private network, with a leg on the public one where it has one. */
export type Machine = {
  name: string
  image: 'node' | 'tools' | 'backends'
  /** Address on the private network, 10.0.0.0/24. */
  private: string
  /** Address on the public network, 198.51.100.0/24: eth0, with the default route. */
  public?: string
  /** What a machine runs, where it is no node. */
  command?: string[]
  /** Volumes that outlive a restart: name and folder. */
  volumes?: { name: string; folder: string }[]
  /** Shell that succeeds once the machine does what it is there for. */
  ready: string
}

const booted = "systemctl is-system-running | grep -qE 'running|degraded' && ss -Hltn sport = 22 | grep -q ."

const node = (name: string, last: number): Machine => ({
  name,
  image: 'node',
  private: `10.0.0.${last}`,
  public: `198.51.100.${last}`,
  volumes: [
    { name: `${name}-rancher`, folder: '/var/lib/rancher' },
    { name: `${name}-kubelet`, folder: '/var/lib/kubelet' }
  ],
  ready: booted
})

/** The eight servers of servers.tsv, on their documented addresses. */
export const nodes: Machine[] = [
  node('k3s-master-01', 100),
  node('k3s-master-02', 101),
  node('k3s-master-03', 102),
  node('k3s-worker-01', 110),
  node('k3s-worker-02', 111),
  node('k3s-worker-03', 112),
  node('k3s-worker-04', 113),
  node('k3s-worker-05', 114)
]

export const bastion: Machine = {
  name: 'bastion',
  image: 'tools',
  private: '10.0.0.2',
  command: ['/usr/local/lib/lab/bastion'],
  volumes: [{ name: 'bastion-home', folder: '/root' }],
  ready: 'test -s /root/.ssh/id_ecdsa && mountpoint -q /opt/keybuzz/settings.yaml'
}

/** What gets the monitoring's messages in an operator's place, by webhook, chat and mail, and keeps them for tests. */
export const alerts: Machine = {
  name: 'alerts-01',
  image: 'tools',
  private: '10.0.0.160',
  command: ['/usr/local/lib/lab/alerts'],
  ready: 'ss -Hltn sport = 8080 | grep -q . && ss -Hltn sport = 2525 | grep -q .'
}

/** The machines around the nodes. One entry here, and its configuration in images/tools, is a new one. */
export const services: Machine[] = [
  {
    name: 'resolver',
    image: 'tools',
    private: '10.0.0.53',
    command: ['/usr/local/lib/lab/resolver'],
    ready: 'ss -Hlun sport = 53 | grep -q . && ss -Hlun sport = 123 | grep -q .'
  },
  {
    name: 'lb-haproxy',
    image: 'tools',
    private: '10.0.0.10',
    command: ['haproxy', '-W', '-db', '-f', '/etc/haproxy/lb-haproxy.cfg'],
    ready: 'ss -Hltn sport = 6443 | grep -q .'
  },
  alerts
]

const backend = (name: string, last: number, service: string, folder: string): Machine => ({
  name,
  image: 'backends',
  private: `10.0.0.${last}`,
  command: [service],
  volumes: [{ name, folder }],
  ready: 'test -e /run/lab/ready'
})

/** MinIO, whose program is built rather than installed. */
export const minio = backend('minio-01', 134, 'minio', '/var/lib/minio')

/** Vault, on a server of its own with systemd and a firewall. Its program is built. It starts sealed. */
export const vault: Machine = {
  name: 'vault-01',
  image: 'node',
  private: '10.0.0.150',
  public: '198.51.100.150',
  volumes: [{ name: 'vault-01', folder: '/var/lib/vault' }],
  ready: booted
}

/** The stateful services. Those of servers.tsv are on its addresses; lb-haproxy stands in front of the first three. */
export const backends: Machine[] = [
  backend('db-master-01', 120, 'postgres', '/var/lib/postgresql'),
  backend('redis-01', 123, 'redis', '/var/lib/redis'),
  backend('queue-01', 126, 'rabbitmq', '/var/lib/rabbitmq'),
  backend('mariadb-01', 20, 'mariadb', '/var/lib/mysql'),
  minio
]

/** The public load balancers, in front of every node's 80 and 443. */
export const balancers: Machine[] = [5, 6].map((last, index) => ({
  name: `lb-keybuzz-${index + 1}`,
  image: 'tools',
  private: `10.0.0.${last}`,
  public: `198.51.100.${last}`,
  command: ['haproxy', '-W', '-db', '-f', '/etc/haproxy/lb-keybuzz.cfg'],
  ready: 'ss -Hltn sport = 80 | grep -q . && ss -Hltn sport = 443 | grep -q .'
}))

export const machines: Machine[] = [bastion, ...services, ...balancers, ...backends, vault, ...nodes]

/** The machine of that name; throws with the names there are. */
export const machine = (name: string): Machine => {
  const found = machines.find((one) => one.name === name)
  if (!found) throw new Error(`The lab has no ${name}. It has ${machines.map((one) => one.name).join(', ')}.`)
  return found
}
