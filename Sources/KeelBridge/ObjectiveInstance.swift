import CKeel
import KeelCore
import KeelTensor

/// What one micro-batch adds to a step.
package struct Evaluation: Sendable {
    /// This micro-batch's part of the loss: its sum divided by the step's denominator.
    package var loss: Double
    /// What each row adds to the sum, before the division; 0 for rows that do not count.
    package var perRow: [Double]
    /// By column of the current policy that was read: the gradient of `loss`, in the column's shape.
    package var gradients: [String: Column]
    package var metrics: MetricSums
}

/// An objective of a run.
package final class ObjectiveInstance {
    package let instance: Instance
    /// What the formulas compute in.
    package enum Precision: Sendable { case f32, f64 }

    private let dtype: DType
    private let device: Device

    /// - Parameters:
    ///   - device: where the small tensors of the formulas live.
    ///   - precision: f32 in training, f64 for checks.
    package init(
        _ component: Component, catalog: PluginCatalog, parameters: ParameterValues,
        name: String? = nil,
        seed: UInt64 = 0, device: Device, precision: Precision = .f32,
        context: CallContext = CallContext()
    ) throws {
        precondition(component.kind == .objective, "\(component.title) is no objective")
        instance = try Instance(
            component, catalog: catalog, parameters: parameters, name: name, seed: seed,
            context: context)
        dtype = precision == .f64 ? .f64 : .f32
        self.device = device
    }

    package var component: Component { instance.component }
    package var phases: [Phase] { component.phases }
    package var gives: [String] { component.gives }

    /// Columns that a phase needs; a name that ends in `?` is used when it is there.
    package func needs(phase: String = "policy") -> [String] { instance.needs(phase: phase) }

    /// The kind of data of a phase: `create`'s choice, else the phase's, else the component's.
    package func dataKind(_ phase: Phase) -> String {
        instance.chosenData ?? phase.data ?? component.data ?? "text"
    }

    /// How losses become one number: `create`'s choice, else the phase's, else the component's, else row_mean.
    package func reduction(phase: String = "policy") -> Reduction {
        if let chosen = instance.chosenReduction { return chosen.0 }
        let name = component.phase(phase)?.reduction ?? component.reduction
        return name.flatMap(Reduction.init(rawValue:)) ?? .rowMean
    }

    /// The denominator of the reduction `constant`; nil = the host's.
    package var reductionConstant: Double? {
        instance.chosenReduction.flatMap { $0.1 > 0 ? $0.1 : nil }
    }

    package func hasPrepare(phase: String = "policy") -> Bool {
        instance.rawPhases[phase]?.prepare != nil || instance.raw.prepare != nil
    }

    package func save() throws -> Instance.State? { try instance.save() }
    package func load(_ state: Instance.State) throws { try instance.load(state) }

    private func checkPhase(_ name: String) throws {
        guard component.phase(name) == nil else { return }
        let near = nearest(name, among: phases.map(\.name)).map { "did you mean \"\($0)\"? " } ?? ""
        throw KeelError(
            "plugin", "\(instance.title) has no phase \"\(name)\"", at: component.path,
            fix: near + "phases: \(phases.map(\.name).joined(separator: ", "))")
    }

    /// Runs the objective's `prepare` over the rows of a step; adds the columns it gives.
    ///
    /// - Parameter source: columns beyond those of the batch, made when `prepare` asks for them.
    /// - Returns: the metrics it reported.
    @discardableResult
    package func prepare(
        _ batch: inout ColumnBatch, source: ColumnSource? = nil, context: CallContext
    ) throws -> MetricSums {
        try checkPhase(context.phase)
        guard let prepare = instance.rawPhases[context.phase]?.prepare ?? instance.raw.prepare
        else { return MetricSums() }
        let call = Call(instance, .prepare, batch: batch, context: context)
        call.source = source
        let status = prepare(instance.own, call.pointer)
        if let error = call.sourceError { throw error }
        try call.finish(status)
        if call.given.contains("weight"), let weight = call.batch.columns["weight"] {
            guard weight.shape == [batch.rows], weight.values.allSatisfy(\.isFinite) else {
                throw call.error(
                    CallFailure(
                        .invalid,
                        "gives \(weight.described("weight")) with a shape or number that cannot weigh rows"
                    ))
            }
        }
        for name in call.given { batch.columns[name] = call.batch.columns[name] }
        return call.metrics
    }

    /// Loss and gradients of one micro-batch.
    ///
    /// Rows of weight 0 or without a trained token on some side add nothing: no loss, no gradient, no
    /// place in the denominator. Masked cells have gradient 0.
    ///
    /// - Parameters:
    ///   - reduction: nil = the objective's own.
    ///   - constant: the denominator of `constant`; nil = the objective's own, else 1.
    ///   - denominator: of the whole step, summed over micro-batches and ranks; nil = this batch is all.
    ///   - gradients: false computes the loss alone.
    /// - Throws: `KeelError` (failed) with operation, shapes and plugin.
    package func evaluate(
        _ batch: ColumnBatch, reduction: Reduction? = nil, constant: Double? = nil,
        denominator: Denominator? = nil, gradients: Bool = true, context: CallContext
    ) throws -> Evaluation {
        try checkPhase(context.phase)
        guard let loss = instance.rawPhases[context.phase]?.loss ?? instance.raw.loss else {
            throw KeelError(
                "plugin", "\(instance.title) has no loss in phase \(context.phase)",
                at: component.path)
        }
        let call = Call(instance, .loss, batch: batch, context: context)
        call.tensors = TensorTable(device: device, dtype: dtype)
        let handle = loss(instance.own, call.pointer)
        try call.finish()
        guard let table = call.tensors else {
            preconditionFailure("the tensors of a loss are gone")
        }
        do {
            let entry = try table.find(handle.id)
            let reducer = try LossReducer(
                call, entry, reduction: reduction ?? self.reduction(phase: context.phase),
                constant: constant ?? reductionConstant ?? 1, denominator: denominator)
            return Evaluation(
                loss: reducer.loss, perRow: reducer.perRow,
                gradients: gradients ? try self.gradients(call, table, entry.tensor, reducer) : [:],
                metrics: call.metrics)
        } catch let failure as CallFailure {
            throw call.error(failure)
        }
    }

    private func gradients(
        _ call: Call, _ table: TensorTable, _ loss: Tensor, _ reducer: LossReducer
    ) throws -> [String: Column] {
        var out: [String: Column] = [:]
        if component.flags.contains(.explicitGradient) {
            for (name, gradient) in table.explicit {
                for (column, cells) in try reducer.spread(gradient, of: name, in: call.batch) {
                    out[column] =
                        out[column].map {
                            Column(shape: $0.shape, zip($0.values, cells.values).map(+))
                        } ?? cells
                }
            }
        } else {
            if loss.isTracked {
                table.tape.backward(
                    loss,
                    seed: Tensor(reducer.seed, shape: loss.shape, dtype: loss.dtype, device: device)
                )
            }
            for (name, leaf) in table.leaves {
                let cells =
                    table.tape.gradient(of: leaf)?.doubles()
                    ?? [Double](repeating: 0, count: leaf.count)
                out[name] = Column(shape: leaf.shape, cells)
            }
        }
        for (name, column) in out {
            out[name] = reducer.silenced(column, name: name, in: call.batch)
        }
        return out
    }
}
