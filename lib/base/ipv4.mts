/** IPv4 arithmetic on unsigned 32-bit numbers. Only the canonical form is accepted. */

const OCTET = '(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)'
const ADDRESS = new RegExp(`^${OCTET}\\.${OCTET}\\.${OCTET}\\.${OCTET}$`)

/** A network: its first address as a number, and its prefix length. */
export type Cidr = { base: number; prefix: number }

/** The address as an unsigned number, or undefined if it is not a dotted quad (no leading zeros, no blanks). */
export const parseAddress = (text: string): number | undefined => {
  const match = ADDRESS.exec(text)
  if (!match) return undefined
  return match.slice(1).reduce((number, octet) => number * 256 + Number(octet), 0)
}

/** The dotted quad of an unsigned 32-bit number. */
export const formatAddress = (address: number): string =>
  [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.')

const size = (prefix: number) => 2 ** (32 - prefix)

const startOf = (address: number, prefix: number) => address - (address % size(prefix))

/** The network, or undefined if the text is not address/prefix. Host bits are cut off: see `isCanonicalCidr`. */
export const parseCidr = (text: string): Cidr | undefined => {
  const [, quad = '', length = ''] = /^([\d.]+)\/(0|[1-9]\d?)$/.exec(text) ?? []
  const address = parseAddress(quad)
  const prefix = Number(length)
  if (address === undefined || prefix > 32) return undefined
  return { base: startOf(address, prefix), prefix }
}

/** The canonical text of a network: `10.42.0.0/16`. */
export const formatCidr = ({ base, prefix }: Cidr): string => `${formatAddress(base)}/${prefix}`

/** Whether the address lies in the network. */
export const contains = ({ base, prefix }: Cidr, address: number): boolean => startOf(address, prefix) === base

/** Whether the two networks share an address. */
export const overlap = (a: Cidr, b: Cidr): boolean => contains(a, b.base) || contains(b, a.base)

/** How many addresses the network has. */
export const addresses = ({ prefix }: Cidr): number => size(prefix)

/** Whether the address is the network's first or last one, which no machine can have (except in a /31 or /32). */
export const isEdge = (network: Cidr, address: number): boolean =>
  network.prefix < 31 && (address === network.base || address === network.base + addresses(network) - 1)

const anyOf = (...cidrs: string[]) => {
  const networks = cidrs.map(parseCidr).filter((cidr) => cidr !== undefined)
  return (address: number) => networks.some((network) => contains(network, address))
}

const isReserved = anyOf('0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3')
const isPrivateAddress = anyOf('10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10')

/** 127.0.0.0/8. */
export const isLoopback = anyOf('127.0.0.0/8')

/** Whether a machine can have the address at all: not "this network", loopback, link-local, multicast or reserved. */
export const isUnicast = (address: number): boolean => !isReserved(address)

/** Whether the whole network is private (RFC 1918) or shared (RFC 6598) address space. */
export const isPrivate = (network: Cidr): boolean =>
  isPrivateAddress(network.base) && isPrivateAddress(network.base + addresses(network) - 1)
