import CKeel
import Glibc
import KeelCore

/// Memory that lives as long as its owner: what a plugin is lent.
final class LentMemory: @unchecked Sendable {
    private var blocks: [UnsafeMutableRawPointer] = []

    deinit {
        for block in blocks { block.deallocate() }
    }

    /// `count` bytes, not initialised; at least one.
    func bytes(_ count: Int, alignment: Int = 64) -> UnsafeMutableRawPointer {
        let block = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1), alignment: alignment)
        if blocks.isEmpty { blocks.reserveCapacity(4) }
        blocks.append(block)
        return block
    }

    /// A copy of the elements.
    func copy<T: BitwiseCopyable>(_ values: [T]) -> UnsafeMutablePointer<T> {
        let start = bytes(values.count * MemoryLayout<T>.stride).bindMemory(
            to: T.self, capacity: max(values.count, 1))
        values.withUnsafeBufferPointer { source in
            if let base = source.baseAddress { start.update(from: base, count: values.count) }
        }
        return start
    }

    /// Copies of some texts with a NUL behind each, all in one block; absent ones and those beyond the list are null.
    func strings(_ texts: [[UInt8]?], count: Int) -> UnsafeMutablePointer<keel_str> {
        let texts = texts.prefix(count)
        let size = texts.reduce(0) { $0 + ($1.map { $0.count + 1 } ?? 0) }
        let table = count * MemoryLayout<keel_str>.stride
        let block = bytes(table + size, alignment: 16)
        let cells = block.bindMemory(to: keel_str.self, capacity: count)
        cells.initialize(repeating: keel_str(p: nil, n: 0), count: count)
        var at = block + table
        for (row, text) in texts.enumerated() {
            guard let text else { continue }
            text.withUnsafeBytes { bytes in
                if let base = bytes.baseAddress { memcpy(at, base, bytes.count) }
            }
            (at + text.count).storeBytes(of: 0, as: UInt8.self)
            cells[row] = keel_str(
                p: UnsafeRawPointer(at).assumingMemoryBound(to: CChar.self), n: text.count)
            at += text.count + 1
        }
        return cells
    }

    /// A copy of the bytes with a NUL behind them.
    func string(_ text: some Collection<UInt8>) -> keel_str {
        let start = bytes(text.count + 1, alignment: 16).bindMemory(
            to: UInt8.self, capacity: text.count + 1)
        let isCopied: Void? = text.withContiguousStorageIfAvailable { bytes in
            if let base = bytes.baseAddress { memcpy(start, base, bytes.count) }
        }
        if isCopied == nil {
            for (at, byte) in text.enumerated() { start[at] = byte }
        }
        start[text.count] = 0
        return keel_str(
            p: UnsafeRawPointer(start).assumingMemoryBound(to: CChar.self), n: text.count)
    }

    /// A row-major array in the contract's layout.
    ///
    /// `data` must live as long as this memory.
    func array(_ data: UnsafeMutableRawPointer, shape: [Int], code: Int, bits: Int) -> keel_array {
        var strides = [Int64](repeating: 1, count: shape.count)
        for axis in stride(from: shape.count - 2, through: 0, by: -1) {
            strides[axis] = strides[axis + 1] * Int64(shape[axis + 1])
        }
        return keel_array(
            data: data, device_type: 1, device_id: 0, ndim: Int32(shape.count), code: UInt8(code),
            bits: UInt8(bits),
            lanes: 1, shape: copy(shape.map(Int64.init)), strides: copy(strides), byte_offset: 0)
    }

    func array(_ column: Column) -> keel_array {
        switch column.storage {
        case .doubles(let values):
            array(UnsafeMutableRawPointer(copy(values)), shape: column.shape, code: 2, bits: 64)
        case .ints(let values):
            array(UnsafeMutableRawPointer(copy(values)), shape: column.shape, code: 0, bits: 32)
        }
    }
}

/// The parameters of one instance as the plugin reads them.
final class ParameterStore: @unchecked Sendable {
    private enum Value {
        case number(Double)
        case choice(Double, keel_str)
        case string(keel_str)
        case list(UnsafePointer<Double>, Int)
        case json
    }

    private let memory = LentMemory()
    /// In the order of their declaration; few, so that comparing names is the fastest way to find one.
    private let values: [(name: keel_str, value: Value, json: keel_str)]
    /// What a parameter is called that was asked for in vain.
    private let owner: String

    init(component: Component, values given: ParameterValues) {
        owner = component.title
        var values: [(name: keel_str, value: Value, json: keel_str)] = []
        for parameter in component.parameters {
            let json = given[parameter.name] ?? parameter.fallback
            let value: Value
            switch parameter.kind {
            case .number, .integer: value = .number(json.number ?? 0)
            case .bool: value = .number(json.bool == true ? 1 : 0)
            case .string: value = .string(memory.string((json.string ?? "").utf8))
            case .choice:
                let text = json.string ?? ""
                value = .choice(
                    Double(parameter.choices.firstIndex(of: text) ?? 0), memory.string(text.utf8))
            case .numbers:
                let list = (json.array ?? []).compactMap(\.number)
                value = .list(UnsafePointer(memory.copy(list)), list.count)
            case .json: value = .json
            }
            values.append(
                (memory.string(parameter.name.utf8), value, memory.string(json.text().utf8)))
        }
        self.values = values
    }

    private func find(_ name: UnsafePointer<CChar>?) -> (value: Value, json: keel_str)? {
        guard let name else { return nil }
        for entry in values where strcmp(entry.name.p, name) == 0 {
            return (entry.value, entry.json)
        }
        return nil
    }

    private func refuse(_ name: UnsafePointer<CChar>?, _ wanted: String) -> CallFailure {
        let text = name.map { String(cString: $0) } ?? ""
        guard find(name) == nil else {
            return CallFailure(.invalid, "parameter \"\(text)\" is not \(wanted)")
        }
        return .undeclaredParameter(
            text, declared: values.compactMap { $0.name.p.map { String(cString: $0) } })
    }

    /// - Parameter name: ends with a NUL, here and below.
    func number(_ name: UnsafePointer<CChar>?) throws(CallFailure) -> Double {
        switch find(name)?.value {
        case .number(let number), .choice(let number, _): return number
        default: throw refuse(name, "a number, a switch or a choice")
        }
    }

    func string(_ name: UnsafePointer<CChar>?) throws(CallFailure) -> keel_str {
        switch find(name)?.value {
        case .string(let text), .choice(_, let text): return text
        default: throw refuse(name, "a string or a choice")
        }
    }

    func list(
        _ name: UnsafePointer<CChar>?
    ) throws(CallFailure) -> (UnsafePointer<Double>, Int) {
        guard case .list(let start, let count) = find(name)?.value else {
            throw refuse(name, "a list of numbers")
        }
        return (start, count)
    }

    func json(_ name: UnsafePointer<CChar>?) throws(CallFailure) -> keel_str {
        guard let found = find(name) else { throw refuse(name, "declared") }
        return found.json
    }
}
