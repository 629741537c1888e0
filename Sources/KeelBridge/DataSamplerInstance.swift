import CKeel
import KeelCore

/// A data sampler of a run: the order in which rows are seen, in this process or in a worker.
package final class DataSamplerInstance {
    private enum Home {
        case process(Instance)
        case worker(WorkerPool)
    }

    package let component: Component
    /// `data sampler "curriculum"`, for messages.
    package let title: String
    /// Columns that it reads; a name that ends in `?` is used when it is there.
    package let needs: [String]
    private let name: String
    private let home: Home
    private var metrics = MetricSums()

    /// A sampler in this process.
    ///
    /// - Throws: `KeelError` (unavailable) when the file cannot be loaded, (config) when `create` refuses.
    package convenience init(
        _ component: Component, catalog: PluginCatalog, parameters: ParameterValues,
        name: String? = nil,
        seed: UInt64 = 0, context: CallContext = CallContext()
    ) throws {
        precondition(component.kind == .dataSampler, "\(component.title) is no data sampler")
        self.init(
            try Instance(
                component, catalog: catalog, parameters: parameters, name: name, seed: seed,
                context: context))
    }

    /// A sampler whose instance there is.
    init(_ instance: Instance) {
        component = instance.component
        name = instance.name
        title = instance.title
        needs = instance.needs(phase: "policy")
        home = .process(instance)
    }

    /// A sampler in a worker process of its own.
    ///
    /// - Throws: `KeelError` (config) when `create` refuses or fails, (unavailable) when there is no worker to be had.
    package init(
        _ component: Component, parameters: ParameterValues, name: String? = nil,
        seed: UInt64 = 0, options: WorkerOptions, context: CallContext = CallContext()
    ) throws {
        precondition(component.kind == .dataSampler, "\(component.title) is no data sampler")
        self.component = component
        self.name = name ?? component.name
        let setup = WorkerSetup(
            component: component, name: self.name, seed: seed, parameters: parameters)
        title = setup.title
        let pool = try WorkerPool(setup, options: options)
        do {
            let extra = try pool.perform { seat in
                try seat.start(context: context)
                return seat.needs
            }
            needs = component.needs + extra.filter { !component.needs.contains($0) }
        } catch {
            pool.close()
            throw error
        }
        home = .worker(pool)
    }

    deinit {
        if case .worker(let pool) = home { pool.close() }
    }

    /// The rows of one epoch, in the order in which they are used.
    ///
    /// - Parameters:
    ///   - count: rows of the data set.
    ///   - length: rows the epoch takes; repeats are allowed.
    ///   - columns: [count] columns that the sampler needs (`length`).
    ///   - rows: the data set rows, for a sampler that needs `row`; else empty.
    /// - Throws: `KeelError` (failed) for a row that does not exist or was not written.
    package func order(
        epoch: Int, count: Int, length: Int? = nil, columns: [String: Column] = [:],
        rows: [JSON] = [], context: CallContext = CallContext()
    ) throws -> [Int] {
        let length = length ?? count
        guard length > 0 else { return [] }
        var batch = ColumnBatch(rows: count)
        batch.columns = columns
        batch.rowJSON = rows
        var context = context
        context.epoch = Double(epoch)
        let order = try perform(
            SamplerCall(callback: .order, batch: batch, context: context, length: length))
        for (at, row) in order.enumerated() where row < 0 || row >= Int64(count) {
            throw KeelError(
                "plugin",
                "\(title) put row \(row) at place \(at) of epoch \(epoch); there are \(count) rows",
                at: component.path, code: .failed)
        }
        return order.map(Int.init)
    }

    package var hasFeedback: Bool { component.hasCallback("feedback") }

    /// Tells the sampler what a step found out about the rows it used.
    ///
    /// - Parameter batch: the columns that the sampler needs, one row for each of `rows`, in that order.
    package func feedback(rows: [Int], batch: ColumnBatch, context: CallContext) throws {
        guard hasFeedback else { return }
        _ = try perform(
            SamplerCall(
                callback: .feedback, batch: batch, context: context, numbers: rows.map(Int64.init)))
    }

    private func perform(_ call: SamplerCall) throws -> [Int64] {
        let answer =
            switch home {
            case .process(let instance): try DataSamplerInstance.perform(call, in: instance)
            case .worker(let pool): try pool.perform { try $0.sample(call) }
            }
        metrics.merge(answer.metrics, prefix: name + "/")
        return answer.rows
    }

    private static func perform(
        _ sample: SamplerCall, in instance: Instance
    ) throws
        -> SamplerAnswer
    {
        var answer = SamplerAnswer(rows: [Int64](repeating: -1, count: sample.length))
        let isOrder = sample.callback == .order
        let call = Call(
            instance, isOrder ? .order : .feedback, batch: sample.batch, context: sample.context)
        if isOrder, let order = instance.raw.order {
            let epoch = Int64(sample.context.epoch)
            try call.finish(
                order(instance.own, call.pointer, epoch, &answer.rows, answer.rows.count))
        } else if !isOrder, let feedback = instance.raw.feedback {
            let numbers = sample.numbers
            try call.finish(feedback(instance.own, call.pointer, numbers, numbers.count))
        }
        answer.metrics = call.metrics
        return answer
    }

    /// Metrics reported since the last time, prefixed by the sampler's name.
    package func takeMetrics() -> MetricSums {
        defer { metrics = MetricSums() }
        return metrics
    }

    package func save() throws -> Instance.State? {
        switch home {
        case .process(let instance): return try instance.save()
        case .worker(let pool):
            guard component.hasCallback("save") else { return nil }
            return try pool.perform { try $0.save(context: CallContext()) }
        }
    }

    package func load(_ state: Instance.State) throws {
        switch home {
        case .process(let instance): try instance.load(state)
        case .worker(let pool):
            guard component.hasCallback("load") else {
                throw Instance.noState(title, state, at: component.path)
            }
            try pool.perform { try $0.restore(state) }
        }
    }
}
