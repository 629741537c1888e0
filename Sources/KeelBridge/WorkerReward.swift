import KeelCore

/// Runs a reward in worker processes: they score while the caller does other things, and what a plugin
/// does to its process, it does not do to the run.
///
/// Same scores as in process, bit for bit, for any number of workers.
package final class WorkerReward: RewardRunner {
    package let component: Component
    package let name: String
    private let setup: WorkerSetup
    private let options: WorkerOptions
    private let pool: WorkerPool
    private var context: CallContext
    private var metrics = MetricSums()
    package private(set) var columns: [String: Column] = [:]

    /// Starts the first worker and creates the instance in it.
    ///
    /// - Throws: `KeelError` (config) when `create` refuses or fails, (unavailable) when there is no worker to be had.
    package init(
        _ component: Component, parameters: ParameterValues, name: String? = nil,
        seed: UInt64 = 0, options: WorkerOptions = WorkerOptions(),
        context: CallContext = CallContext()
    ) throws {
        precondition(component.kind == .reward, "\(component.title) is no reward")
        self.component = component
        self.name = name ?? component.name
        self.options = options
        self.context = context
        setup = WorkerSetup(
            component: component, name: self.name, seed: seed, parameters: parameters)
        pool = try WorkerPool(setup, options: options)
        do {
            try pool.perform { seat in _ = try seat.start(context: context) }
        } catch {
            pool.close()
            throw error
        }
    }

    deinit { pool.close() }

    package func ask(_ rows: [RewardRow], context: CallContext) throws -> [[UInt8]?] {
        guard !rows.isEmpty, component.hasCallback("ask") else {
            return [[UInt8]?](repeating: nil, count: rows.count)
        }
        let (setup, options, pool) = (setup, options, pool)
        let answer = try pool.perform { seat in
            try seat.ask(rows[...], context: context) { row, failure in
                guard options.onError == .stop else { return pool.noteSkipped() }
                throw KeelError(
                    "plugin", "\(setup.title): row \(row.id): \(failure.report)",
                    at: "\(setup.component.path), ask, step \(context.step), row \(row.id)",
                    fix: failure.fix(for: setup.component), code: .failed)
            }
        }
        metrics.merge(answer.metrics, prefix: name + "/")
        return answer.questions
    }

    package func submit(_ rows: [RewardRow], context: CallContext) throws {
        self.context = context
        guard !rows.isEmpty else { return }
        pool.submit(rows, context: context)
    }

    package func collect() throws -> [RewardScore] {
        columns = [:]
        let result = try pool.collect()
        metrics.merge(result.metrics, prefix: name + "/")
        columns = result.columns
        return result.scores
    }

    package func takeMetrics() -> MetricSums {
        defer { metrics = MetricSums() }
        return metrics
    }

    package func takeReport() -> RewardReport { pool.takeReport() }

    package func save() throws -> Instance.State? {
        guard component.hasCallback("save") else { return nil }
        let context = context
        return try pool.perform { try $0.save(context: context) }
    }

    package func load(_ state: Instance.State) throws {
        guard component.hasCallback("load") else {
            throw Instance.noState(setup.title, state, at: component.path)
        }
        try pool.perform { try $0.restore(state) }
    }
}
