import CKeel
import Glibc
import KeelCore
import KeelTensor

private let invalid = CallStatus.invalid.rawValue

/// A plugin's text; bytes that are not UTF-8 are repaired.
private func text(_ pointer: UnsafePointer<CChar>?, limit: Int = 1 << 12) -> String {
    guard let pointer else { return "" }
    let bytes = UnsafeRawBufferPointer(start: pointer, count: strnlen(pointer, limit))
    return String(decoding: bytes, as: UTF8.self)
}

/// The functions that plugins call, as `keel.h` lists them.
///
/// One table for the whole process.
package enum HostTable {
    /// The minor version of the contract that this host offers.
    package static let minor = 0

    /// The table; lives as long as the process.
    nonisolated(unsafe) static let pointer: UnsafePointer<keel_host> = {
        let table = UnsafeMutablePointer<keel_host>.allocate(capacity: 1)
        table.initialize(to: make())
        return UnsafePointer(table)
    }()

    /// The table as memory, for the test that no function is missing.
    static var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: pointer, count: MemoryLayout<keel_host>.size)
    }

    private static func make() -> keel_host {
        var host = keel_host()
        host.size = UInt32(MemoryLayout<keel_host>.size)
        host.api = UInt32(minor)
        telemetry(&host)
        parameters(&host)
        rows(&host)
        columns(&host)
        tensors(&host)
        return host
    }

    private static func telemetry(_ host: inout keel_host) {
        host.query = { _, _ in nil }
        host.fail = { c, code, what in
            let status = CallStatus(rawValue: code) ?? .internal
            let words = text(what)
            Call.of(c)?.fail(CallFailure(status, words.isEmpty ? "failed without a text" : words))
            return code
        }
        host.cancelled = { c in Call.of(c)?.context.isCancelled() == true ? 1 : 0 }
        host.log = { c, level, what in
            guard let call = Call.of(c) else { return }
            call.instance.log(level: Int(level), text(what))
        }
        host.metric = { c, name, value, how in
            guard let call = Call.of(c), let how = MetricSums.How(rawValue: Int(how)) else {
                return
            }
            call.metrics.add(text(name), value, how)
        }
        host.metric_t = { c, name, tensor, how in
            guard let call = Call.of(c), let how = MetricSums.How(rawValue: Int(how)) else {
                return
            }
            let name = text(name)
            call.attempt(()) { () throws(CallFailure) in try call.addMetric(name, tensor.id, how) }
        }
        host.user = { c in Call.of(c)?.instance.user }
    }

    private static func parameters(_ host: inout keel_host) {
        host.num = { c, name in
            guard let call = Call.of(c) else { return 0 }
            return call.attempt(0) { () throws(CallFailure) in
                try call.instance.parameters.number(name)
            }
        }
        host.str = { c, name in
            let empty = keel_str(p: nil, n: 0)
            guard let call = Call.of(c) else { return empty }
            return call.attempt(empty) { () throws(CallFailure) in
                try call.instance.parameters.string(name)
            }
        }
        host.json = { c, name in
            let empty = keel_str(p: nil, n: 0)
            guard let call = Call.of(c) else { return empty }
            return call.attempt(empty) { () throws(CallFailure) in
                try call.instance.parameters.json(name)
            }
        }
        host.list = { c, name, n in
            n?.pointee = 0
            guard let call = Call.of(c) else { return nil }
            let found: (UnsafePointer<Double>, Int)? = call.attempt(nil) { () throws(CallFailure) in
                try call.instance.parameters.list(name)
            }
            n?.pointee = found?.1 ?? 0
            return found?.0
        }
        host.fact = { c, name in Call.of(c)?.fact(text(name)) ?? .nan }
        host.phase = { c in Call.of(c)?.phase() }
        host.random = { c, row, n in Call.of(c)?.random(row: row, n) ?? 0 }
    }

    private static func rows(_ host: inout keel_host) {
        host.rows = { c in Call.of(c)?.batch.rows ?? 0 }
        host.text = { c, column, row in
            let absent = keel_str(p: nil, n: 0)
            guard let call = Call.of(c), let column else { return absent }
            return call.attempt(absent) { () throws(CallFailure) in try call.text(column, row) }
        }
        host.field = { c, row, pointer in
            let absent = keel_str(p: nil, n: 0)
            guard let call = Call.of(c) else { return absent }
            return call.attempt(absent) { () throws(CallFailure) in
                try call.field(row, text(pointer))
            }
        }
        host.tokens = { c, row, prompt, total in
            prompt?.pointee = 0
            total?.pointee = 0
            guard let call = Call.of(c) else { return nil }
            let found: (UnsafePointer<Int32>, prompt: Int, total: Int)? = call.attempt(nil) {
                () throws(CallFailure) in
                try call.tokens(row)
            }
            prompt?.pointee = found?.prompt ?? 0
            total?.pointee = found?.total ?? 0
            return found?.0
        }
    }

    private static func columns(_ host: inout keel_host) {
        host.need = { c, column in
            guard let call = Call.of(c) else { return invalid }
            return call.status { () throws(CallFailure) in
                try call.require(.create, for: "`need`")
                let name = text(column)
                if call.instance.component.kind == .objective, Component.dataKinds.contains(name) {
                    call.chosenData = name
                } else {
                    call.extraNeeds.append(name)
                }
            }
        }
        host.reduction = { c, name, constant in
            guard let call = Call.of(c) else { return invalid }
            return call.status { () throws(CallFailure) in
                try call.require(.create, for: "`reduction`")
                guard let reduction = Reduction(rawValue: text(name)) else {
                    throw CallFailure(.invalid, "chose the unknown reduction \"\(text(name))\"")
                }
                call.chosenReduction = (reduction, constant)
            }
        }
        host.has = { c, column in Call.of(c)?.hasColumn(text(column)) == true ? 1 : 0 }
        host.column = { c, name, out in
            out?.pointee = keel_array()
            guard let call = Call.of(c) else { return invalid }
            return call.status { () throws(CallFailure) in
                let array = try call.array(text(name))
                out?.pointee = array
            }
        }
        host.put = { c, name, array in
            guard let call = Call.of(c) else { return invalid }
            return call.status { () throws(CallFailure) in
                guard let array else {
                    throw CallFailure(.invalid, "puts \"\(text(name))\" without an array")
                }
                try call.put(text(name), array.pointee)
            }
        }
        host.put_text = { c, column, row, start, count in
            guard let call = Call.of(c) else { return invalid }
            return call.status { () throws(CallFailure) in
                try call.require(.ask, for: "`put_text`")
                guard text(column) == "ask" else {
                    throw CallFailure(
                        .invalid, "puts the text column \"\(text(column))\"; `ask` gives \"ask\"")
                }
                guard row < call.asked.count else {
                    throw CallFailure(
                        .invalid, "puts text for row \(row) of a batch of \(call.asked.count)")
                }
                call.asked[row] = Array(
                    UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : count))
            }
        }
        host.write = { c, start, count in
            guard let call = Call.of(c) else { return invalid }
            return call.status { () throws(CallFailure) in
                try call.require(.save, for: "`write`")
                guard let start else {
                    guard count == 0 else {
                        throw CallFailure(.invalid, "writes \(count) bytes from nowhere")
                    }
                    return
                }
                call.written.append(contentsOf: UnsafeRawBufferPointer(start: start, count: count))
            }
        }
    }

    private static func tensors(_ host: inout keel_host) {
        host.input = { c, column in
            guard let call = Call.of(c) else { return keel_t(id: 0) }
            return call.tensor { () throws(CallFailure) in try call.input(text(column)) }
        }
        host.upload = { c, array in
            guard let call = Call.of(c) else { return keel_t(id: 0) }
            return call.tensor { () throws(CallFailure) in
                guard let array else { throw CallFailure(.invalid, "uploads no array") }
                return try call.upload(array.pointee)
            }
        }
        host.op = { c, code, inputs, n, constants, nk in
            guard let call = Call.of(c) else { return keel_t(id: 0) }
            return call.tensor { () throws(CallFailure) in
                guard n <= 4096, nk <= 4096, n == 0 || inputs != nil, nk == 0 || constants != nil
                else {
                    throw CallFailure(
                        .invalid, "operation \(code) with \(n) inputs and \(nk) constants")
                }
                return try call.apply(
                    code, inputs: UnsafeBufferPointer(start: inputs, count: n).map(\.id),
                    constants: Array(UnsafeBufferPointer(start: constants, count: nk)))
            }
        }
        host.op_supported = { _, code in TensorOps.table[code] == nil ? 0 : 1 }
        host.shape = { c, tensor, lengths, capacity in
            guard let call = Call.of(c), !call.hasFailed else { return -1 }
            let shape: [Int]? = call.attempt(nil) { () throws(CallFailure) in
                try call.shape(tensor.id)
            }
            guard let shape else { return -1 }
            for (axis, length) in shape.prefix(capacity).enumerated() {
                lengths?[axis] = Int64(length)
            }
            return Int32(shape.count)
        }
        host.read = { c, tensor, out in
            out?.pointee = keel_array()
            guard let call = Call.of(c) else { return invalid }
            return call.status { () throws(CallFailure) in
                let column = try call.value(tensor.id)
                out?.pointee = call.memory.array(column)
            }
        }
        host.grad = { c, column, array in
            guard let call = Call.of(c) else { return invalid }
            return call.status { () throws(CallFailure) in
                guard let array else {
                    throw CallFailure(.invalid, "gives a gradient without an array")
                }
                try call.giveGradient(text(column), array.pointee)
            }
        }
    }
}
