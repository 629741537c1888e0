import CKeel
import KeelCore

/// A data sampler of a run: the order in which rows are seen.
package final class DataSamplerInstance {
    package let instance: Instance
    package var component: Component { instance.component }

    package init(
        _ component: Component, catalog: PluginCatalog, parameters: ParameterValues,
        name: String? = nil,
        seed: UInt64 = 0, context: CallContext = CallContext()
    ) throws {
        precondition(component.kind == .dataSampler, "\(component.title) is no data sampler")
        instance = try Instance(
            component, catalog: catalog, parameters: parameters, name: name, seed: seed,
            context: context)
    }

    /// The rows of one epoch, in the order in which they are used.
    ///
    /// - Parameters:
    ///   - count: rows of the data set.
    ///   - length: rows the epoch takes; repeats are allowed.
    ///   - columns: [count] columns that the sampler needs (`length`, `advantages`).
    /// - Throws: `KeelError` (failed) for a row that does not exist or was not written.
    package func order(
        epoch: Int, count: Int, length: Int? = nil, columns: [String: Column] = [:],
        context: CallContext = CallContext()
    ) throws -> [Int] {
        let length = length ?? count
        guard let order = instance.raw.order, length > 0 else { return [] }
        var batch = ColumnBatch(rows: count)
        batch.columns = columns
        var context = context
        context.epoch = Double(epoch)
        let call = Call(instance, .order, batch: batch, context: context)
        var rows = [Int64](repeating: -1, count: length)
        try call.finish(order(instance.own, call.pointer, Int64(epoch), &rows, length))
        for (at, row) in rows.enumerated() where row < 0 || row >= Int64(count) {
            throw KeelError(
                "plugin",
                "\(instance.title) put row \(row) at place \(at) of epoch \(epoch); there are \(count) rows",
                at: component.path, code: .failed)
        }
        return rows.map(Int.init)
    }

    package var hasFeedback: Bool { instance.raw.feedback != nil }

    /// Tells the sampler what a step found out about the rows it used.
    ///
    /// - Parameter batch: the columns that the sampler needs, one row for each of `rows`, in that order.
    package func feedback(rows: [Int], batch: ColumnBatch, context: CallContext) throws {
        guard let feedback = instance.raw.feedback else { return }
        let call = Call(instance, .feedback, batch: batch, context: context)
        let numbers = rows.map(Int64.init)
        try call.finish(feedback(instance.own, call.pointer, numbers, numbers.count))
    }

    package func save() throws -> Instance.State? { try instance.save() }
    package func load(_ state: Instance.State) throws { try instance.load(state) }
}
