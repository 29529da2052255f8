import { type Fault, quoted, UsageError } from '../base/errors.mts'
import { contains, isEdge, isUnicast, parseAddress, parseCidr } from '../base/ipv4.mts'
import { isDomain, isHostname, isUser } from '../base/names.mts'
import { defaultSettings } from './settings.mts'
import { readTable, type TableRow } from './tsv.mts'
import { closest, plural } from '../base/words.mts'

/** A K3s node as its row of servers.tsv says. Every field is safe in a shell command. */
export type Host = {
  name: string
  /** IP_PRIVEE: what the cluster uses, and where ssh goes. */
  address: string
  /** IP_PUBLIQUE, or '' where the row has none. */
  publicAddress: string
  user: string
  /** FQDN, or '' where the row has none. Its first label often differs from the name. */
  fqdn: string
  role: 'server' | 'agent'
  /** DOCKER_STACK. */
  stack: string
  /** The value of the label keybuzz.io/pool. */
  pool: string
  /** The line of servers.tsv. */
  line: number
}

/** A server of another role, such as a database: a row of the same environment that is no K3s node. Nothing in it is checked. */
export type Machine = {
  name: string
  /** IP_PRIVEE. */
  address: string
  /** ROLE. */
  role: string
  subrole: string
  /** DOCKER_STACK. */
  stack: string
  /** The line of servers.tsv. */
  line: number
}

export type InventoryOptions = {
  /** The ENV whose rows are taken. Left out: the only one that the K3s rows have. */
  environment?: string
  /** Every IP_PRIVEE must lie in it, and no IP_PUBLIQUE may. */
  privateCidr?: string
  /** Hostname to pool, for the workers whose DOCKER_STACK is only k3s-node. */
  pools?: Record<string, string>
}

/** The hosts of these pools. */
export const inPools = (hosts: Host[], pools: readonly string[]): Host[] => hosts.filter(({ pool }) => pools.includes(pool))

const COLUMNS = [
  'ENV', 'IP_PUBLIQUE', 'HOSTNAME', 'IP_PRIVEE', 'FQDN', 'USER_SSH',
  'POOL', 'ROLE', 'SUBROLE', 'DOCKER_STACK', 'CORE', 'NOTES'
] as const

/** A later form of the file has two more columns at the end. They are not read. */
const WIDTHS = [COLUMNS.length, COLUMNS.length + 2]

type Column = (typeof COLUMNS)[number]
type Row = TableRow<Column>
type Complaint = Omit<Fault, 'file'>

const ROLES = new Map<string, Host['role']>([['master', 'server'], ['worker', 'agent']])

/** DOCKER_STACK by SUBROLE, and its pool; '' where it gives none. */
const STACKS: Record<Host['role'], Record<string, string>> = {
  server: { 'k3s-control-plane': 'control-plane' },
  agent: {
    'k3s-node': '',
    'k3s-worker-general': 'general',
    'k3s-worker-heavy': 'heavy',
    'k3s-worker-observability': 'observability',
    'k3s-worker-extra': 'reserve'
  }
}

const DEFAULT_POOL = 'general'

const complain = (row: Row, what: Column, expected: string, remedy: string): Complaint => ({
  line: row.line, what, value: row.fields[what], expected, remedy
})

/** A value that looks right to a person, but is not: "K3S", "prod ". */
const isAlmost = (value: string, wanted: string) =>
  value !== wanted && value.trim().toLowerCase() === wanted.toLowerCase()

const LEFT_OUT = 'Correct it, or the row would be left out.'

const selectRole = (rows: Row[], faults: Complaint[]): Row[] =>
  rows.filter((row) => {
    if (isAlmost(row.fields.ROLE, 'k3s')) {
      faults.push(complain(row, 'ROLE', 'k3s in lower case and without blanks', LEFT_OUT))
    }
    return row.fields.ROLE === 'k3s'
  })

const onlyOne = (names: string[]) => (names.length === 1 ? names[0] : undefined)

const selectEnvironment = (rows: Row[], wanted: string | undefined, faults: Complaint[]): Row[] => {
  const names = [...new Set(rows.map((row) => row.fields.ENV))]
  const environment = wanted ?? onlyOne(names)
  const chosen = rows.filter((row) => row.fields.ENV === environment)
  if (environment === undefined || chosen.length === 0) {
    faults.push({
      what: 'ENV', ...(environment === undefined ? {} : { value: environment }),
      expected: `K3s rows of the environment; the file has K3s rows of ${names.map(quoted).join(', ')}`,
      remedy: 'Set environment in the settings to one of them, or correct the column.'
    })
    return []
  }
  for (const row of rows.filter(({ fields }) => isAlmost(fields.ENV, environment))) {
    faults.push(complain(row, 'ENV', `${quoted(environment)} exactly`, LEFT_OUT))
  }
  return chosen
}

const checkAddress = (row: Row, column: 'IP_PRIVEE' | 'IP_PUBLIQUE', privateCidr: string | undefined): Complaint[] => {
  const value = row.fields[column]
  const address = parseAddress(value)
  if (address === undefined) {
    const remedy = column === 'IP_PRIVEE'
      ? 'Fix the column: four numbers from 0 to 255 without leading zeros, no prefix length.'
      : 'Fix the column, or leave it empty if the server has no public address.'
    return [complain(row, column, 'an IPv4 address', remedy)]
  }
  if (!isUnicast(address)) {
    return [complain(row, column, 'an address that a server can have', 'This one is loopback, link-local or reserved.')]
  }
  const network = privateCidr === undefined ? undefined : parseCidr(privateCidr)
  if (!network) return []
  if (column === 'IP_PUBLIQUE') {
    return contains(network, address)
      ? [complain(row, column, `an address outside the private network ${privateCidr}`,
        'Look whether IP_PUBLIQUE and IP_PRIVEE are swapped; leave it empty if the server has no public address.')]
      : []
  }
  if (!contains(network, address)) {
    return [complain(row, column, `an address inside the private network ${privateCidr}`,
      'Fix the column, or network.private_cidr in the settings.')]
  }
  return isEdge(network, address)
    ? [complain(row, column, `an address of a server in ${privateCidr}`, 'This one is its first or last address.')]
    : []
}

const checkStack = (row: Row, role: Host['role']): Complaint[] => {
  const stacks = Object.keys(STACKS[role])
  if (stacks.includes(row.fields.DOCKER_STACK)) return []
  const near = closest(row.fields.DOCKER_STACK, stacks)
  const remedy = near ? `Did you mean ${near}?` : `Set it to what a row with SUBROLE=${row.fields.SUBROLE} has.`
  return [complain(row, 'DOCKER_STACK', stacks.join(', ').replace(/, (?=[^,]*$)/, ' or '), remedy)]
}

const checkRow = (row: Row, privateCidr: string | undefined): Complaint[] => {
  const { HOSTNAME: name, FQDN: fqdn, USER_SSH: user, SUBROLE: subrole, IP_PUBLIQUE: publicAddress } = row.fields
  const role = ROLES.get(subrole)
  return [
    ...(isHostname(name) ? [] : [complain(row, 'HOSTNAME',
      'a host name of a-z, 0-9 and "-", at most 63 characters', 'Kubernetes takes no other for the name of a node.')]),
    ...checkAddress(row, 'IP_PRIVEE', privateCidr),
    ...(publicAddress === '' ? [] : checkAddress(row, 'IP_PUBLIQUE', privateCidr)),
    ...(fqdn === '' || isDomain(fqdn) ? [] : [complain(row, 'FQDN',
      'a full domain name in lower case', 'Fix the column, or leave it empty.')]),
    ...(isUser(user) ? [] : [complain(row, 'USER_SSH',
      'a Linux user name of a-z, 0-9, "_" and "-"', 'Name the user that ssh logs in as, such as root.')]),
    ...(role ? checkStack(row, role) : [complain(row, 'SUBROLE', 'master or worker', 'Fix the column.')])
  ]
}

const UNIQUE = ['HOSTNAME', 'IP_PRIVEE', 'IP_PUBLIQUE', 'FQDN'] as const

const checkUnique = (rows: Row[]): Complaint[] =>
  UNIQUE.flatMap((column) => {
    const first = new Map<string, Row>()
    return rows.flatMap((row) => {
      const value = row.fields[column]
      const other = first.get(value)
      if (value === '') return []
      if (!other) {
        first.set(value, row)
        return []
      }
      return [complain(row, column, 'one row for each server',
        `Line ${other.line} (${other.fields.HOSTNAME}) has the same.`)]
    })
  })

/** Two machines with one address: 01 could reach the wrong one. */
const checkForeign = (chosen: Row[], others: Row[]): Complaint[] =>
  chosen.flatMap((row) =>
    others
      .filter(({ fields }) => fields.IP_PRIVEE === row.fields.IP_PRIVEE && fields.HOSTNAME !== row.fields.HOSTNAME)
      .map((other) => complain(row, 'IP_PRIVEE', 'an address that no other server has',
        `Line ${other.line} (${other.fields.HOSTNAME}, ROLE=${other.fields.ROLE}) has the same.`)))

const subroleCount = (rows: Row[], subrole: string) => rows.filter((row) => row.fields.SUBROLE === subrole).length

const checkQuorum = (rows: Row[]): Complaint[] => {
  const servers = subroleCount(rows, 'master')
  if (servers % 2 === 1) return []
  const found = servers === 0 ? 'none' : String(servers)
  const remedy = servers === 0
    ? 'Give three K3s rows SUBROLE=master.'
    : `etcd survives no more failures with ${servers} than with ${servers - 1}: add one or take one away.`
  return [{ what: 'SUBROLE=master', expected: `an odd number of servers, found ${found}`, remedy }]
}

type Pools = Map<string, string>

const poolOf = (row: Row, role: Host['role'], pools: Pools): string =>
  STACKS[role][row.fields.DOCKER_STACK] || (pools.get(row.fields.HOSTNAME) ?? DEFAULT_POOL)

const toHost = (row: Row, pools: Pools): Host => {
  const { fields, line } = row
  const role = ROLES.get(fields.SUBROLE) ?? 'agent'
  return {
    name: fields.HOSTNAME, address: fields.IP_PRIVEE, publicAddress: fields.IP_PUBLIQUE, user: fields.USER_SSH,
    fqdn: fields.FQDN, role, stack: fields.DOCKER_STACK, pool: poolOf(row, role, pools), line
  }
}

const toMachine = ({ fields, line }: Row): Machine => ({
  name: fields.HOSTNAME, address: fields.IP_PRIVEE, role: fields.ROLE, subrole: fields.SUBROLE, stack: fields.DOCKER_STACK, line
})

const poolNotes = (hosts: Host[], pools: Pools): string[] => {
  const documented = defaultSettings().pools
  const names = new Set(hosts.map((host) => host.name))
  // The documented pools may name servers that this file does not have.
  const unknown = [...pools.keys()].filter((name) => !names.has(name) && pools.get(name) !== documented[name])
  const unused = hosts.filter(({ name, stack, pool }) => stack !== 'k3s-node' && (pools.get(name) ?? pool) !== pool)
  return [
    ...(unknown.length > 0 ? [`pools in the settings names no K3s row: ${unknown.join(', ')}`] : []),
    ...unused.map(({ name, stack, pool }) =>
      `${name} is in pool ${pool} as its DOCKER_STACK ${stack} says; pools in the settings says ${pools.get(name)}`)
  ]
}

const sizeNotes = (hosts: Host[]): string[] => {
  const servers = hosts.filter((host) => host.role === 'server').length
  return [
    ...(servers === 1 ? ['one server: the cluster is not highly available; three survive the loss of one'] : []),
    ...(servers > 7 ? [`${servers} servers: etcd is slower with each; seven is the most that is advised`] : []),
    ...(servers === hosts.length ? ['no worker: nothing but the control plane will run'] : [])
  ]
}

const lineOf = ({ line }: Complaint) => line ?? Number.MAX_SAFE_INTEGER

const usageError = (file: string, faults: Complaint[]) =>
  new UsageError(faults.toSorted((a, b) => lineOf(a) - lineOf(b)).map((fault) => ({ file, ...fault })))

/**
 * Reads the K3s nodes (ROLE=k3s) of one environment from servers.tsv: tab-separated, 12 or 14 columns, every
 * character literal (quotes too), empty fields kept. Rows of other roles are the `machines`, unchecked. Notes are for the
 * operator; they are not faults. Throws a UsageError with all faults of the file.
 */
export const readInventory = async (
  file: string,
  { environment, privateCidr, pools = {} }: InventoryOptions = {}
): Promise<{ hosts: Host[]; machines: Machine[]; notes: string[] }> => {
  const { rows, notes, faults: misshapen } = await readTable(file, COLUMNS, WIDTHS)
  const faults: Complaint[] = [...misshapen]
  const k3s = selectRole(rows, faults)
  if (k3s.length === 0) {
    faults.push({ what: 'ROLE', expected: 'rows with ROLE=k3s, found none', remedy: 'Add the K3s nodes to the file.' })
    throw usageError(file, faults)
  }
  const chosen = selectEnvironment(k3s, environment, faults)
  const chosenEnvironment = chosen[0]?.fields.ENV
  const others = rows.filter((row) => row.fields.ROLE !== 'k3s' && row.fields.ENV === chosenEnvironment)
  faults.push(...chosen.flatMap((row) => checkRow(row, privateCidr)), ...checkUnique(chosen))
  faults.push(...checkForeign(chosen, others))
  // After faults in single rows the number of servers may be wrong only because of them.
  if (faults.length === 0) faults.push(...checkQuorum(chosen))
  if (faults.length > 0) throw usageError(file, faults)

  const poolByName = new Map(Object.entries(pools))
  const hosts = chosen.map((row) => toHost(row, poolByName))
  const left = k3s.length - chosen.length
  return {
    hosts,
    machines: others.map(toMachine),
    notes: [
      ...notes,
      `${plural(hosts.length, 'K3s row')} of ${rows.length} taken`
        + (left > 0 ? `; ${plural(left, 'K3s row')} of another environment left out` : ''),
      ...sizeNotes(hosts),
      ...poolNotes(hosts, poolByName)
    ]
  }
}
