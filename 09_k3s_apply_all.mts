#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
// 09_k3s_apply_all  Apply all
//
// Runs the scripts in order: one plan of all of them, one question, then each in turn. It stops at the first script
// that fails, and says how long each took. Interrupt it when you must, and run it again: it goes on from there.
//
// Needs:   what the first script needs.
// Changes: what the scripts change; read their headers.
// Undo:    see the scripts.
// Example: ./09_k3s_apply_all.mts --from 02

import { allScripts } from './09_k3s_09_final_validation.mts'
import { UsageError } from './lib/base/errors.mts'
import { misuse, value } from './lib/run/flags.mts'
import { operate, type Script } from './lib/run/script.mts'

const numberOf = ({ id }: Script): string => id.split('_').at(-1)!

const indexOf = (flag: string, name: string): number => {
  const index = allScripts.findIndex((script) => [script.id, numberOf(script)].includes(name))
  if (index !== -1) return index
  throw new UsageError([misuse(flag, `one of ${allScripts.map(numberOf).join(', ')}`, 'Correct it.', name)])
}

type Part = { from: string | undefined; to: string | undefined; only: string | undefined }

const choose = ({ from, to, only }: Part): Script[] => {
  const first = from === undefined ? 0 : indexOf('--from', from)
  const last = to === undefined ? allScripts.length - 1 : indexOf('--to', to)
  if (only === undefined && first <= last) return allScripts.slice(first, last + 1)
  if (only !== undefined && from === undefined && to === undefined) {
    const wanted = only.split(',').map((name) => indexOf('--only', name))
    return allScripts.filter((_, index) => wanted.includes(index))
  }
  throw new UsageError([only === undefined
    ? misuse('--from, --to', 'the first one before the last one', 'Correct it.')
    : misuse('--only', 'it without --from and --to', 'Correct it.')])
}

if (import.meta.main) {
  await operate(allScripts, import.meta.filename, {
    choose,
    flags: {
      from: value('02', 'begin with this script'),
      to: value('03', 'end with this script'),
      only: value('01,03', 'only these scripts')
    }
  })
}
