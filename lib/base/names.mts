/** The forms of names that end up in shell commands, file names and Kubernetes objects. */

const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
const HOSTNAME = new RegExp(`^${LABEL}$`)
const DOMAIN = new RegExp(`^(?=.{1,253}$)${LABEL}(?:\\.${LABEL})+$`)
const USER = /^[a-z_][a-z0-9_-]{0,31}$/

/** A DNS label in lower case, at most 63 characters, as Kubernetes wants the name of a node (RFC 1123). */
export const isHostname = (name: string): boolean => HOSTNAME.test(name)

/** Two or more DNS labels in lower case, at most 253 characters (RFC 1123). */
export const isDomain = (name: string): boolean => DOMAIN.test(name)

/** A name that useradd accepts, at most 32 characters. */
export const isUser = (name: string): boolean => USER.test(name)
