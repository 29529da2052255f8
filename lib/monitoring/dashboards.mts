import { applyObjects, documents, manifestStep } from '../cluster/objects.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep } from '../run/step.mts'
import { configMap, dashboardMap } from './files.mts'

/** Shell that gives each dashboard's ConfigMap to a kubectl command. The files are long: by hand they are taken from the project. */
const forEach = (command: string): string => `for file in manifests/07_monitoring/dashboards/*.json; do
  kubectl -n monitoring create configmap "dashboards-$(basename "$file" .json)" --from-file="$file" --dry-run=client -o yaml |
    kubectl ${command} --server-side --force-conflicts -f -
done`

/** The step that the cluster has these dashboards: JSON by file. Grafana shows a changed one without a restart. */
export const hasDashboards = (kubectl: Kubectl, files: Record<string, string>): ClusterStep => {
  const manifest = documents(Object.entries(files).map(([file, text]) => configMap(dashboardMap(file), { [file]: text })))
  return {
    ...manifestStep(kubectl, 'has the dashboards', manifest),
    look: `# In the folder of the project:\n${forEach('diff')}`,
    change: () => applyObjects(kubectl, manifest),
    byHand: forEach('apply')
  }
}
