import CWorker
import Glibc
import KeelCore

/// The memory that a worker shares with the host: what callbacks write, then what they read.
final class WorkerMemory {
    /// For the worker.
    let descriptor: Int32
    private(set) var outputCapacity = 0
    private(set) var inputCapacity = 0
    private(set) var output: UnsafeMutableRawPointer
    private(set) var input: UnsafeMutableRawPointer
    /// Bytes between the guards of the present call.
    private(set) var outputSize = 0

    static let page = Int(KW_PAGE)
    static let guardSize = Int(KW_GUARD)
    private static let guardByte = UInt8(KW_GUARD_BYTE)

    /// - Throws: `KeelError` (io) when the system gives no memory.
    init() throws {
        descriptor = kw_memory_file("keel-worker")
        guard descriptor >= 0 else { throw Files.error("cannot make shared memory", "memfd") }
        outputCapacity = WorkerMemory.page * 2
        inputCapacity = WorkerMemory.page * 16
        do {
            (output, input) = try WorkerMemory.map(descriptor, outputCapacity, inputCapacity)
        } catch {
            close(descriptor)
            throw error
        }
    }

    deinit {
        munmap(output, outputCapacity)
        munmap(input, inputCapacity)
        close(descriptor)
    }

    private static func map(
        _ descriptor: Int32, _ output: Int, _ input: Int
    ) throws -> (UnsafeMutableRawPointer, UnsafeMutableRawPointer) {
        guard ftruncate(descriptor, off_t(output + input)) == 0 else {
            throw Files.error("cannot get \(output + input) bytes of shared memory", "memfd")
        }
        let protection = PROT_READ | PROT_WRITE
        let first = mmap(nil, output, protection, MAP_SHARED, descriptor, 0)
        let second = mmap(nil, input, protection, MAP_SHARED, descriptor, off_t(output))
        guard let first, let second, first != MAP_FAILED, second != MAP_FAILED else {
            throw Files.error("cannot map shared memory", "memfd")
        }
        return (first, second)
    }

    private func resize(output newOutput: Int, input newInput: Int) throws {
        let (first, second) = try WorkerMemory.map(descriptor, newOutput, newInput)
        munmap(output, outputCapacity)
        munmap(input, inputCapacity)
        (output, input) = (first, second)
        (outputCapacity, inputCapacity) = (newOutput, newInput)
    }

    private static func rounded(_ size: Int) -> Int { (size + page - 1) / page * page }

    /// Makes room for a call's output; what the input holds is lost.
    func prepareOutput(_ size: Int) throws {
        let wanted = WorkerMemory.page + 2 * WorkerMemory.guardSize + size
        if wanted > outputCapacity {
            try resize(
                output: WorkerMemory.rounded(max(wanted, 2 * outputCapacity)), input: inputCapacity)
        }
        outputSize = size
        output.storeBytes(of: 0, as: UInt32.self)
        memset(output + WorkerMemory.page, Int32(WorkerMemory.guardByte), WorkerMemory.guardSize)
        memset(results + size, Int32(WorkerMemory.guardByte), WorkerMemory.guardSize)
        isCancelled = false
    }

    /// Makes room for so many bytes of input, keeping what is there.
    func growInput(_ size: Int) throws {
        guard size > inputCapacity else { return }
        try resize(
            output: outputCapacity, input: WorkerMemory.rounded(max(size, 2 * inputCapacity)))
    }

    /// What the callback writes.
    var results: UnsafeMutableRawPointer { output + WorkerMemory.page + WorkerMemory.guardSize }

    /// The row last asked for; nil before the first.
    var touched: Int? {
        let number = output.load(as: UInt32.self)
        return number == 0 ? nil : Int(number) - 1
    }

    /// Told to the plugin by `keel_cancelled`.
    var isCancelled: Bool {
        get { input.load(as: UInt32.self) != 0 }
        set { input.storeBytes(of: newValue ? 1 : 0, as: UInt32.self) }
    }

    /// Whether nothing was written beside the results.
    var isGuardIntact: Bool {
        let size = WorkerMemory.guardSize
        let before = UnsafeRawBufferPointer(start: output + WorkerMemory.page, count: size)
        let behind = UnsafeRawBufferPointer(start: results + outputSize, count: size)
        return before.allSatisfy { $0 == WorkerMemory.guardByte }
            && behind.allSatisfy { $0 == WorkerMemory.guardByte }
    }
}

/// Writes a request's stream into the shared memory, as cworker.h lays it out.
struct WorkerWriter {
    private let memory: WorkerMemory
    private var at = WorkerMemory.page
    private var room: Int
    private var start: UnsafeMutableRawPointer

    init(_ memory: WorkerMemory) {
        self.memory = memory
        room = memory.inputCapacity
        start = memory.input
    }

    /// Bytes written.
    var size: Int { at - WorkerMemory.page }

    private mutating func need(_ count: Int) throws {
        guard at + count > room else { return }
        try memory.growInput(at + count)
        room = memory.inputCapacity
        start = memory.input
    }

    mutating func word(_ value: UInt64) throws {
        try need(8)
        start.storeBytes(of: value, toByteOffset: at, as: UInt64.self)
        at += 8
    }

    mutating func word(_ value: Int) throws { try word(UInt64(truncatingIfNeeded: value)) }

    mutating func number(_ value: Double) throws { try word(value.bitPattern) }

    mutating func bytes(_ bytes: UnsafeRawBufferPointer) throws {
        try need(bytes.count)
        if let base = bytes.baseAddress { memcpy(start + at, base, bytes.count) }
        at += bytes.count
    }

    /// Zeros up to the next multiple, counted from `base`.
    mutating func pad(_ alignment: Int = 8, from base: Int = 0) throws {
        let off = (at - base) % alignment
        guard off != 0 else { return }
        try need(alignment - off)
        memset(start + at, 0, alignment - off)
        at += alignment - off
    }

    /// The present place, for `pad`.
    var place: Int { at }

    /// A text: nil = not there.
    mutating func text(_ text: [UInt8]?) throws {
        guard let text else { return try word(KW_ABSENT) }
        try word(text.count)
        try text.withUnsafeBytes { try bytes($0) }
        try end()
    }

    mutating func text(_ text: String) throws {
        var text = text
        try word(text.utf8.count)
        try text.withUTF8 { try bytes(UnsafeRawBufferPointer($0)) }
        try end()
    }

    private mutating func end() throws {
        try byte(0)
        try pad()
    }

    mutating func list<T: BitwiseCopyable>(_ values: [T]) throws {
        try values.withUnsafeBytes { try bytes($0) }
        try pad()
    }

    // MARK: - JSON

    /// A JSON value as a text: the bytes of `JSON.text()`.
    mutating func text(_ json: JSON) throws {
        let length = at
        try word(0)
        try write(json)
        start.storeBytes(of: UInt64(at - length - 8), toByteOffset: length, as: UInt64.self)
        try end()
    }

    private mutating func byte(_ value: UInt8) throws {
        try need(1)
        start.storeBytes(of: value, toByteOffset: at, as: UInt8.self)
        at += 1
    }

    private mutating func raw(_ text: String) throws {
        var text = text
        try text.withUTF8 { try bytes(UnsafeRawBufferPointer($0)) }
    }

    private mutating func write(_ json: JSON) throws {
        switch json {
        case .string(let text): try quote(text)
        case .array(let values):
            try byte(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { try raw(", ") }
                try write(value)
            }
            try byte(UInt8(ascii: "]"))
        case .object(let object):
            try byte(UInt8(ascii: "{"))
            for (index, pair) in object.pairs.enumerated() {
                if index > 0 { try raw(", ") }
                try quote(pair.key)
                try byte(UInt8(ascii: ":"))
                try write(pair.value)
            }
            try byte(UInt8(ascii: "}"))
        default: try raw(json.text())
        }
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        byte >= 0x20 && byte != 0x22 && byte != 0x5C && byte != 0x7F && byte != 0xE2
    }

    /// A string; only what needs a second look leaves the fast way.
    private mutating func quote(_ text: String) throws {
        var text = text
        let isPlain = text.withUTF8 { $0.allSatisfy(WorkerWriter.isPlain) }
        guard isPlain else { return try raw(JSON.string(text).text()) }
        try byte(0x22)
        try raw(text)
        try byte(0x22)
    }
}
