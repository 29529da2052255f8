import type { Answer, Data, Vault } from '../../lib/reach/vault.mts'

type Fake = {
  /** What is there, by its path. */
  kept?: Record<string, Data>
  /** Answers a request itself, or throws; undefined leaves it to what is kept. */
  answer?: (method: 'read' | 'write', path: string, data?: object) => Partial<Answer> | undefined
}

/** A Vault that keeps what is written, and remembers the requests. */
export const fakeVault = ({ kept = {}, answer = () => undefined }: Fake = {}) => {
  const asked: string[] = []
  const whole = (some: Partial<Answer>): Answer => ({ data: {}, lease_id: '', ...some })
  const vault: Vault = {
    read: async (path) => {
      asked.push(`read ${path}`)
      const own = answer('read', path.replace('?list=true', ''))
      return own ? whole(own) : path in kept ? whole({ data: kept[path]! }) : undefined
    },
    write: async (path, data = {}) => {
      asked.push(`write ${path}`)
      const own = answer('write', path, data)
      if (own) return whole(own)
      kept[path] = data as Data
      return whole({})
    },
    remove: async (path) => {
      asked.push(`remove ${path}`)
      delete kept[path]
    },
    as: () => vault,
    state: async () => ''
  }
  return { vault, kept, asked }
}
