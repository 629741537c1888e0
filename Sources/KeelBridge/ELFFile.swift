import KeelCore

/// What can be told about a shared library without loading it.
///
/// Every offset is checked against the size of the file: a file that lies ends in an error.
struct ELFFile {
    private let bytes: UnsafeRawBufferPointer
    private let path: String

    /// - Throws: `KeelError` (unavailable) unless the file is a shared library for this machine.
    init(_ file: MappedFile) throws {
        bytes = file.bytes
        path = file.path
        guard bytes.count >= 64, bytes[0] == 0x7F, bytes[1] == 0x45, bytes[2] == 0x4C,
            bytes[3] == 0x46
        else {
            throw refuse(
                "is not a shared library (no ELF header)",
                fix: "give the .so file that the compiler made; `keel plugin build FILE` makes one")
        }
        guard bytes[4] == 2, bytes[5] == 1 else {
            throw refuse("is not a 64-bit little-endian library")
        }
        let type = load(16, UInt16.self) ?? 0
        let machine = load(18, UInt16.self) ?? 0
        guard machine == ELFFile.thisMachine else {
            throw refuse(
                "was built for \(ELFFile.name(machine)), this machine is \(ELFFile.name(ELFFile.thisMachine))",
                fix: "build the plugin on this kind of machine")
        }
        guard type == 3 else {
            throw refuse("is an ELF file but no shared library", fix: "link it with -shared")
        }
        try checkSegments()
    }

    /// The loader maps segments without asking whether the file is long enough for them.
    private func checkSegments() throws {
        guard let table = load(32, UInt64.self), let entry = load(54, UInt16.self),
            let count = load(56, UInt16.self), entry >= 56
        else { throw truncated }
        for index in 0..<UInt64(count) {
            let (offset, overflow) = table.addingReportingOverflow(index * UInt64(entry))
            guard !overflow, let at = Int(exactly: offset), at <= bytes.count - 56,
                let start = load(at + 8, UInt64.self), let size = load(at + 32, UInt64.self),
                size <= UInt64(bytes.count), start <= UInt64(bytes.count) - size || size == 0
            else { throw truncated }
        }
    }

    /// Whether a function is exported; nil when the file has no section table to tell.
    ///
    /// - Throws: `KeelError` (unavailable) when a table points outside of the file.
    func exports(_ symbol: String) throws -> Bool? {
        guard let table = load(40, UInt64.self), table != 0, let entry = load(58, UInt16.self),
            let count = load(60, UInt16.self), count > 0, entry >= 64
        else { return nil }
        let wanted = Array(symbol.utf8)
        for index in 0..<UInt64(count) {
            let at = try place(table, index * UInt64(entry))
            guard let kind = load(at + 4, UInt32.self) else { throw truncated }
            guard kind == 11 else { continue }  // SHT_DYNSYM
            guard let start = load(at + 24, UInt64.self), let size = load(at + 32, UInt64.self),
                let link = load(at + 40, UInt32.self)
            else { throw truncated }
            let names = try place(table, UInt64(link) * UInt64(entry))
            guard let textStart = load(names + 24, UInt64.self),
                let textSize = load(names + 32, UInt64.self),
                let end = Int(exactly: start &+ size), end <= bytes.count, start <= UInt64(end),
                let textEnd = Int(exactly: textStart &+ textSize), textEnd <= bytes.count,
                textStart <= UInt64(textEnd)
            else { throw truncated }
            for symbolAt in stride(from: Int(start), to: end - 23, by: 24) {
                guard let name = load(symbolAt, UInt32.self),
                    let section = load(symbolAt + 6, UInt16.self)
                else {
                    throw truncated
                }
                let first = Int(textStart) + Int(name)
                guard section != 0, first + wanted.count < textEnd else { continue }
                if bytes[first..<first + wanted.count].elementsEqual(wanted),
                    bytes[first + wanted.count] == 0
                {
                    return true
                }
            }
            return false
        }
        return nil
    }

    private func place(_ base: UInt64, _ offset: UInt64) throws -> Int {
        let (sum, overflow) = base.addingReportingOverflow(offset)
        guard !overflow, let at = Int(exactly: sum), at <= bytes.count - 64 else { throw truncated }
        return at
    }

    private func load<T: FixedWidthInteger>(_ at: Int, _: T.Type) -> T? {
        guard at >= 0, at <= bytes.count - MemoryLayout<T>.size else { return nil }
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: T.self))
    }

    private var truncated: KeelError {
        refuse("is damaged: a part of it lies outside of the file", fix: "build or copy it again")
    }

    private func refuse(_ what: String, fix: String? = nil) -> KeelError {
        KeelError("plugin", "\(Files.name(path)) \(what)", at: path, fix: fix, code: .unavailable)
    }

    private static var thisMachine: UInt16 {
        #if arch(arm64)
            183
        #else
            62
        #endif
    }

    private static func name(_ machine: UInt16) -> String {
        switch machine {
        case 3: "32-bit x86"
        case 40: "32-bit ARM"
        case 62: "x86-64"
        case 183: "aarch64"
        case 243: "RISC-V"
        default: "machine type \(machine)"
        }
    }
}
