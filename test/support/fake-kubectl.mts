import { kubectlOf, type Kubectl, type KubectlOptions } from '../../lib/reach/kubectl.mts'

/** A kubectl that a test answers for: it gets the text behind `kubectl`, as `get nodes -o json`, and the options. */
export const fakeKubectl = (answer: (command: string, options: KubectlOptions) => string | Promise<string>): Kubectl =>
  kubectlOf(async (command, options) => answer(command, options))
