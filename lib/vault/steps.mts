import { isDeepStrictEqual } from 'node:util'
import type { Data, Vault } from '../reach/vault.mts'
import type { ClusterStep } from '../run/step.mts'

type Kept = {
  /** The step's name. */
  name: string
  path: string
  /** What must be there. Vault may have more. */
  wanted: Data
  /** What is written besides, and cannot be read again: passwords. `shown` stands for it in a runbook. */
  hidden?: { value: () => Data; shown: Data }
  /** What of Vault's answer is compared, where it is laid out otherwise than what is written. */
  seen?: (found: Data) => Data
  hint?: string
}

/** What of the data that is wanted is different, in words: '' where nothing is. Values are not named, there are secrets among them. */
export const differences = (found: Data | undefined, wanted: Data): string => {
  if (found === undefined) return 'is missing'
  const keys = Object.keys(wanted).filter((key) => !isDeepStrictEqual(found[key], wanted[key]))
  return keys.length === 0 ? '' : `different: ${keys.join(', ')}`
}

/** The step that Vault has this data at a path. */
export const hasData = (vault: Vault, { name, path, wanted, hidden, seen = (found) => found, hint }: Kept): ClusterStep => ({
  name,
  check: async () => {
    const found = await vault.read(path)
    return differences(found && seen(found.data), wanted)
  },
  look: `vault read ${path}`,
  change: async () => {
    await vault.write(path, { ...wanted, ...hidden?.value() })
  },
  byHand: writeByHand(path, { ...wanted, ...hidden?.shown }),
  ...(hint === undefined ? {} : { hint })
})

/** What an operator types to write data to a path. */
export const writeByHand = (path: string, data: object): string => `vault write ${path} - <<'END'
${JSON.stringify(data, undefined, 2)}
END`
